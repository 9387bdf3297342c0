"""Let the quality gate judge every candidate on every log of a shop, as a retraining would."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from pageopt.config import EvaluateParams, QualityGate, ShopParams
from pageopt.evaluation.compare import LoggedPages, fit_reward_model
from pageopt.release.gates import quality
from pageopt.studies.coverage.judged_shop import ALIKE_CONTENT, LEARNED, STATIC, JudgedShop
from pageopt.studies.coverage.settings import Settings
from pageopt.studies.gates.candidates import CASES
from pageopt.studies.pool import spread

_LOG_SEEDS, _TRUTH_SEEDS = 20_000, 2_000_000  # none of the coverage study's


@dataclass(frozen=True)
class Scale:
    """What is repeated: so many logs of so many random pages, a fifth as many of production, by the project's params.

    `seed` is the shop's; true values are means of `truth_pages` visits.
    """

    logs: int
    pages: int
    seed: int
    shop: ShopParams
    evaluate: EvaluateParams
    limits: QualityGate
    truth_pages: int = 400_000

    def settings(self) -> Settings:
        """The shop and its logs, as the coverage study takes them: all visits of a log are drawn as one day's."""
        evaluate = self.evaluate.model_copy(update={"threads": 1})
        shop = self.shop.model_copy(update={"days": 1})
        return Settings(self.logs, self.pages, self.seed, shop=shop, evaluate=evaluate, truth_pages=self.truth_pages)


@dataclass(frozen=True)
class Trial:
    """What the gate said of a candidate on a log."""

    promoted: bool
    why: str


def repeat(scale: Scale, processes: int, *, progress: bool = True) -> tuple[dict[str, float], list[dict[str, Trial]]]:
    """True CTR of the pages that candidates are made of, and each log's trials by name of the case.

    The same for any number of processes. Raises EvaluationError where the shop has no room for a case.
    """
    shop = JudgedShop.build(scale.settings(), scale.shop.page_effects)
    pages = scale.settings().truth_pages
    true = {name: shop.truth(name, _TRUTH_SEEDS, pages)["ctr"].value for name in (STATIC, ALIKE_CONTENT, LEARNED)}
    shares = {case.name: case.share(true) for case in CASES}
    jobs = [partial(_judge, number) for number in range(scale.logs)]
    return true, spread(jobs, processes, partial(_start, scale, shares), "Logs", progress=progress)


# What a process of the pool works with: the shop follows from the scale, and is cheaper made than sent.
_given: list[tuple[Scale, JudgedShop, Mapping[str, float]]] = []


def _start(scale: Scale, shares: Mapping[str, float]) -> None:
    threadpool_limits(1)
    _given[:] = [(scale, JudgedShop.build(scale.settings(), scale.shop.page_effects), shares)]


def _judge(number: int) -> dict[str, Trial]:
    """The gate's verdict on each candidate, from one log."""
    scale, shop, shares = _given[0]
    settings, limits = scale.settings(), scale.limits
    log = shop.log(_LOG_SEEDS + number, settings.pages, round(settings.pages * settings.production))
    model = fit_reward_model(log.pages, shop.encoder, ("random",), ("random",), settings.evaluate, progress=False)
    logged = LoggedPages(log.pages, model, settings.evaluate)
    trusted = logged.check_page_model(log.pages)
    values = {name: logged.value(log.targets[name][logged.rows]) for name in (STATIC, LEARNED)}
    trials = {}
    for case in CASES:
        rng = np.random.default_rng((number, CASES.index(case)))
        candidate = logged.value(case.modules(log.targets, shares[case.name], rng)[logged.rows])
        bars = [(STATIC, "the static page", quality.over_static(limits))]
        if case.over != STATIC:
            bars.append((case.over, "the champion", quality.over_champion(limits)))
        compared = [
            each
            for other, title, asked in bars
            for each in quality.comparisons(candidate, values[other], title, asked, settings.evaluate)
        ]
        verdict = quality.judge(compared, trusted)
        trials[case.name] = Trial(verdict.passed, verdict.why)
    return trials
