import numpy as np
import pytest

from pageopt.evaluation.estimate import UserBootstrap
from pageopt.evaluation.weights import diagnose, match_weights, stochastic_weights


def _log(rng, pages=6000, modules=8, slots=3):
    """A log of independent slots with unequal propensities, and a target that always wants module 2, 0, 1."""
    chances = np.linspace(1, 3, modules) / np.linspace(1, 3, modules).sum()
    shown = rng.choice(modules, size=(pages, slots), p=chances)
    return np.tile([2, 0, 1], (pages, 1)), shown, chances[shown], np.ones((pages, slots), dtype=bool)


def test_right_propensities_have_mean_weight_one():
    target, shown, propensity, counted = _log(np.random.default_rng(0))
    weights = match_weights(target, shown, propensity, counted, 100)
    found = diagnose(weights, UserBootstrap(len(target)))
    assert found.mean_weight == pytest.approx(1, abs=0.15)
    assert found.consistent
    assert len(found.slots) == 3
    expected = np.mean(shown == target)
    assert found.match_rate == pytest.approx(expected)
    # Equal weights in a slot: as many effective pages as there are matches.
    assert found.effective_pages == pytest.approx((shown == target).sum() / 3)
    assert found.clipped_share == 0


def test_wrong_propensities_are_noticed():
    target, shown, propensity, counted = _log(np.random.default_rng(1))
    found = diagnose(match_weights(target, shown, propensity * 0.6, counted, 100), UserBootstrap(len(target)))
    assert not found.consistent
    assert found.mean_weight_z > 4
    one_slot = propensity.copy()
    one_slot[:, 1] = np.minimum(one_slot[:, 1] * 2.5, 1)
    found = diagnose(match_weights(target, shown, one_slot, counted, 100), UserBootstrap(len(target)))
    assert not found.consistent
    assert found.slots[1].z < -4
    assert abs(found.slots[0].z) < 4


def test_clipping_is_reported():
    target, shown, propensity, counted = _log(np.random.default_rng(2))
    found = diagnose(match_weights(target, shown, propensity, counted, 2.0), UserBootstrap(len(target)))
    assert found.clipped_share == 1.0


def test_marginals_have_mean_weight_one():
    rng = np.random.default_rng(3)
    _, shown, propensity, counted = _log(rng)
    probability = rng.dirichlet(np.ones(8), size=3)
    weights = stochastic_weights(probability, shown, propensity, counted, 100)
    np.testing.assert_allclose(weights.raw[5], probability[np.arange(3), shown[5]] / propensity[5])
    assert diagnose(weights, UserBootstrap(len(shown))).consistent


def test_a_policy_that_never_fills_a_slot():
    target, shown, propensity, counted = _log(np.random.default_rng(4), pages=50)
    target[:, 2] = -1
    found = diagnose(match_weights(target, shown, propensity, counted, 100), UserBootstrap(50))
    assert found.slots[2] is None
