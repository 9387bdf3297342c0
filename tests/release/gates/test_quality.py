import numpy as np
import pytest

from pageopt.config import EvaluateParams, RewardModelParams
from pageopt.evaluation.compare import PolicyValue, Terms
from pageopt.evaluation.weights import Weights
from pageopt.release.gates.quality import comparisons, judge

PAGES = 4000
PARAMS = EvaluateParams(
    seed=1,
    threads=1,
    bootstrap=200,
    confidence=0.95,
    max_weight=100,
    reward_model=RewardModelParams(folds=2, rounds=1, depth=1, learning_rate=0.1),
)


def policy(click: float, purchase: float, seed: int = 1, noise: float = 0.1) -> PolicyValue:
    """A policy whose DR contributions are known: q̂ with noise, no weight on the log."""
    rng = np.random.default_rng(seed)
    nothing = np.zeros((PAGES, 1))

    def terms(mean: float) -> Terms:
        contribution = np.full((PAGES, 1), mean) + noise * mean * rng.standard_normal((PAGES, 1))
        return Terms(nothing, nothing, nothing, contribution)

    weights = Weights(nothing, nothing, nothing + 1)
    return PolicyValue(np.arange(PAGES), np.arange(PAGES), weights, terms(click), terms(purchase), False)


def verdict(candidate: PolicyValue, other: PolicyValue, limits: dict[str, float | None]):
    return judge(comparisons(candidate, other, "the static page", limits, PARAMS))


def test_a_clear_gain_passes():
    found = verdict(policy(0.10, 0.02), policy(0.08, 0.01, seed=2), {"CTR": 0.0, "PTR": 0.0})
    assert found.passed
    assert found.checks[0].value == pytest.approx(0.25, abs=0.02)
    assert found.checks[1].value == pytest.approx(1.0, abs=0.05)


def test_a_loss_fails_with_its_numbers():
    found = verdict(policy(0.07, 0.01), policy(0.08, 0.01, seed=2), {"CTR": 0.0, "PTR": -0.25})
    assert not found.passed
    assert [check.passed for check in found.checks] == [False, True]
    assert "CTR over the static page -12." in found.why
    assert "must be above +0.0%" in found.why
    assert "not enough evidence" not in found.why


def test_a_gain_lost_in_noise_is_not_enough_evidence_and_says_how_many_pages_it_needs():
    candidate, other = policy(0.082, 0.01, noise=3), policy(0.08, 0.01, seed=2, noise=3)
    found = verdict(candidate, other, {"CTR": -0.05})
    assert not found.passed
    assert found.why.startswith("not enough evidence: CTR over the static page")
    assert "test pages would decide it, there are 4,000" in found.why


def test_a_loss_that_the_limit_allows_passes():
    assert verdict(policy(0.078, 0.01), policy(0.08, 0.01, seed=2), {"CTR": -0.05, "PTR": -0.1}).passed


def test_without_limits_or_purchases_it_shows_and_does_not_judge():
    found = verdict(policy(0.01, 0.0), policy(0.08, 0.0, seed=2), {"CTR": None})
    assert found.passed
    assert "not judged" in found.checks[0].why
    assert found.checks[1].why == "PTR over the static page: the log holds no purchases, not judged"


def test_a_baseline_that_is_not_above_zero_decides_nothing():
    found = verdict(policy(0.08, 0.01), policy(0.0, -0.01, seed=2), {"CTR": 0.0, "PTR": None})
    assert not found.passed
    assert "the static page itself is not clearly above zero on 4,000 test pages" in found.why
    assert found.checks[1].passed
