from dataclasses import replace

import numpy as np
import pytest

from pageopt.config import EvaluateParams, RewardModelParams
from pageopt.evaluation.compare import PolicyValue, Terms
from pageopt.evaluation.page_check import PageCheck, Production
from pageopt.evaluation.weights import Weights
from pageopt.release.gates.quality import Limit, WithPower, comparisons, judge

PAGES = 4000
PARAMS = EvaluateParams(
    seed=1,
    threads=1,
    bootstrap=200,
    confidence=0.95,
    max_weight=100,
    reward_model=RewardModelParams(folds=2, rounds=1, depth=1, learning_rate=0.1),
)


def policy(click: float, purchase: float, seed: int = 1, noise: float = 0.1, matched: int = 50) -> PolicyValue:
    """A policy whose DR contributions are known: q̂ with noise; the rewards it matches are what q̂ said."""
    rng = np.random.default_rng(seed)
    nothing = np.zeros((PAGES, 1))
    rewarded = (np.arange(PAGES) < matched).astype(float)[:, None]

    def terms(mean: float) -> Terms:
        contribution = np.full((PAGES, 1), mean) + noise * mean * rng.standard_normal((PAGES, 1))
        return Terms(rewarded, rewarded, rewarded, contribution)

    weights = Weights(nothing, nothing, nothing + 1)
    return PolicyValue(np.arange(PAGES), np.arange(PAGES), weights, terms(click), terms(purchase), False)


TRUSTED = PageCheck(-0.4, 9.0, 30.0, False, Production(0.4, 0.41, 0.5, 900), [])


def verdict(candidate: PolicyValue, other: PolicyValue, limits: dict[str, Limit]):
    found = judge(comparisons(candidate, other, "the static page", limits, PARAMS), TRUSTED)
    assert found.checks[-1].name == "evidence"
    assert found.checks[-1].passed
    return replace(found, checks=found.checks[:-1])


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


@pytest.mark.parametrize(("noise", "passes"), [(0.5, False), (8.0, True)])
def test_purchases_must_gain_where_the_log_has_the_power_to_see_it(noise, passes):
    """Against the same page drawn anew: no gain. With power that fails at 0, without it the other limit is asked."""
    candidate, other = (policy(0.10, 0.01, seed=seed, noise=noise) for seed in (1, 2))
    ptr = verdict(candidate, other, {"CTR": None, "PTR": WithPower(0.0, 0.25, -5.0)}).checks[1]
    least = 2.8 * np.sqrt(2 / PAGES) * noise  # share of the other's that is seen in 8 of 10 cases
    assert (least > 0.25) == passes
    assert ptr.passed == passes
    assert ptr.limit == (-5.0 if passes else 0.0)
    assert ("is asked of logs that see 25%" in ptr.why) == passes
    assert "one-sided level 2.5%" in ptr.why


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


@pytest.mark.parametrize(("matched", "enough"), [(0, False), (9, False), (10, True)])
def test_a_handful_of_rewards_is_no_evidence_whatever_the_interval_says(matched, enough):
    found = verdict(policy(0.10, 0.02, matched=matched), policy(0.08, 0.01, seed=2), {"CTR": 0.0})
    assert found.passed == enough
    assert ("not enough evidence" in found.why) != enough
    if not enough:
        assert f"only {matched} rewards on 4,000 test pages" in found.why


def test_too_few_rewards_say_how_many_pages_a_change_of_a_tenth_takes():
    """2 r / (p · (0.1 r)²) · (1.96 + 0.84)², here with r = 9 / 4000 and p = 1: 698,000."""
    found = verdict(policy(0.10, 0.02, matched=9), policy(0.08, 0.01, seed=2), {"CTR": 0.0})
    assert "a change of 10% takes about 700,000 test pages to see" in found.why


@pytest.mark.parametrize("problem", ["clicks follow what stands above", "production pages earned 0.4 clicks"])
def test_a_gain_is_not_believed_where_the_estimate_cannot_be_trusted(problem):
    clear = comparisons(policy(0.10, 0.02), policy(0.08, 0.01, seed=2), "the static page", {"CTR": 0.0}, PARAMS)
    found = judge(clear, replace(TRUSTED, score=5.1, problems=[problem]))
    assert not found.passed
    assert not found.checks[-1].passed
    assert found.checks[-1].why == found.why == f"the estimate cannot be trusted: {problem}"
    assert all(check.passed for check in found.checks[:-1])


def test_single_slots_say_that_nothing_is_known_of_page_effects():
    clear = comparisons(policy(0.10, 0.02), policy(0.08, 0.01, seed=2), "the static page", {"CTR": 0.0}, PARAMS)
    found = judge(clear, None)
    assert found.passed
    assert "one slot a page" in found.checks[-1].why
