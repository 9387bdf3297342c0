from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import kstest

from pageopt.config import TrainParams, TuneParams, load
from pageopt.studies.tuning.space import draw, with_values

ROOT = Path(__file__).parents[3]
SPACE = {
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "dropout": {"low": 0.1, "high": 0.5},
    "width": {"choice": [32, 64]},
}


def params(**changed) -> TuneParams:
    return TuneParams.model_validate({"trials": 3, "seed": 1, "space": SPACE} | changed)


def test_a_trial_is_known_without_the_others_and_without_the_rest_of_the_space():
    assert draw(params(), 7) == draw(params(trials=100), 7)
    fewer = {"dropout": SPACE["dropout"]}
    assert draw(params(space=fewer), 7)["dropout"] == draw(params(), 7)["dropout"]
    assert draw(params(), 7) != draw(params(), 8)
    assert draw(params(), 7) != draw(params(seed=2), 7)


def test_draws_follow_the_declared_scales():
    drawn = [draw(params(), trial) for trial in range(600)]
    rates = np.log([each["learning_rate"] for each in drawn])
    assert kstest(rates, "uniform", args=(np.log(1e-4), np.log(100))).pvalue > 1e-3
    assert kstest([each["dropout"] for each in drawn], "uniform", args=(0.1, 0.4)).pvalue > 1e-3
    widths = [each["width"] for each in drawn]
    assert set(widths) == {32, 64}
    assert 240 < widths.count(32) < 360


def test_every_draw_of_the_repositorys_space_is_valid():
    tune, train = load(ROOT / "params.yaml", TuneParams), load(ROOT / "params.yaml", TrainParams)
    for trial in range(50):
        values = draw(tune, trial)
        assert with_values(train, values).model_dump() == train.model_dump() | values


@pytest.mark.parametrize(
    ("space", "complaint"),
    [
        ({"learning": {"low": 0.1, "high": 1}}, "section train does not have"),
        ({"dropout": {"low": 0.5, "high": 0.1}}, "goes up"),
        ({"dropout": {"low": 0, "high": 0.1, "log": True}}, "above 0"),
        ({"dropout": {"choice": []}}, "at least 1"),
        ({}, "at least 1"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(space, complaint):
    with pytest.raises(ValidationError, match=complaint):
        params(space=space)
