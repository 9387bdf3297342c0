"""The quality gate before candidates of known worth, on a few small logs: the whole study is `make gates`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pageopt.config import GatesParams, load
from pageopt.errors import EvaluationError
from pageopt.studies.coverage.judged_shop import ALIKE_CONTENT, LEARNED, STATIC, JudgedShop
from pageopt.studies.coverage.settings import Settings
from pageopt.studies.gates.candidates import CASES
from pageopt.studies.gates.study import Scale, repeat

SHOP = Settings().shop


@pytest.fixture(scope="module")
def scale() -> Scale:
    evaluate = Settings().evaluate.model_copy(update={"bootstrap": 200})
    limits = load(Path(__file__).parents[3] / "params.yaml", GatesParams).quality
    return Scale(2, 6000, 37, SHOP, evaluate, limits, truth_pages=100_000)


@pytest.fixture(scope="module")
def judged(scale):
    return repeat(scale, 1, progress=False)


def test_a_page_of_alike_modules_is_rejected_and_one_that_gains_is_promoted(judged) -> None:
    true, trials = judged
    assert true[ALIKE_CONTENT] < 0.88 * true[STATIC] < true[LEARNED]
    for trial in trials:
        assert not trial["alike modules, 12 % worse than static"].promoted
        assert trial["20 % better than static"].promoted, trial["20 % better than static"].why


def test_a_candidate_is_worth_what_its_case_says(scale, judged) -> None:
    true, _ = judged
    log = JudgedShop.build(scale.settings(), SHOP.page_effects).log(7, 4000)
    for case in CASES:
        share = case.share(true)
        modules = case.modules(log.targets, share, np.random.default_rng(1))
        first, second = (log.targets[page] for page in case.pages)
        differs = (first != second).any(axis=1)
        assert (modules[differs] == second[differs]).all(axis=1).mean() == pytest.approx(share, abs=0.03)
        mixed = (1 - share) * true[case.pages[0]] + share * true[case.pages[1]]
        assert mixed == pytest.approx((1 + case.change) * true[case.over])


def test_a_change_that_no_mixture_makes_is_told(judged) -> None:
    true, _ = judged
    with pytest.raises(EvaluationError, match="Choose another shop or change"):
        replace(CASES[1], change=9.0).share(true)
