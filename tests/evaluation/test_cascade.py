"""Cascade-DR against all orders of a small page, where every expectation is a plain sum."""

from itertools import permutations

import numpy as np
import pytest

from pageopt.errors import EvaluationError
from pageopt.evaluation.cascade import cascade_ratio, cascade_support, conditional_propensity, unknown_conditionals
from pageopt.evaluation.offpolicy import cascade_weights, dr, ips

MODULES, SLOTS = 5, 3
ORDERS = np.array(list(permutations(range(MODULES), SLOTS)))  # a log in which chance has no part
AVAILABLE = np.full(len(ORDERS), MODULES)


def _chance(rng):
    """P(click) of each order's slots, `[orders, slots]`: a table of the modules down to the slot."""
    table = {}
    for order in ORDERS:
        for slot in range(SLOTS):
            table.setdefault(tuple(order[: slot + 1]), rng.uniform(0.05, 0.9))
    return np.array([[table[tuple(order[: slot + 1])] for slot in range(SLOTS)] for order in ORDERS])


def test_unbiased_where_a_reward_depends_on_the_modules_above_and_slot_wise_weights_are_not():
    rng = np.random.default_rng(3)
    chance = _chance(rng)
    target = np.tile([4, 1, 3], (len(ORDERS), 1))
    truth = chance[(target == ORDERS).all(axis=1)].sum()
    ratio = cascade_ratio(target, ORDERS, AVAILABLE)
    wrong_q = _chance(rng)  # any q̂ of the modules down to the slot
    q_target = np.tile(wrong_q[(target == ORDERS).all(axis=1)], (len(ORDERS), 1))
    weight, quick = cascade_weights(ratio), {"replicates": 5}
    assert dr(chance, weight, wrong_q, q_target, **quick).value == pytest.approx(truth, abs=1e-12)
    assert dr(chance, weight, 0 * chance, 0 * chance, **quick).value == pytest.approx(truth, abs=1e-12)
    slot_wise = (target == ORDERS) * float(MODULES)
    assert abs(ips(chance, slot_wise, **quick).value - truth) > 0.05
    assert abs(dr(chance, slot_wise, wrong_q, q_target, **quick).value - truth) > 0.05


def test_weights_have_mean_one_in_every_slot():
    target = np.tile([0, 3, 2], (len(ORDERS), 1))
    weights = np.cumprod(cascade_ratio(target, ORDERS, AVAILABLE), axis=1)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=1e-12)


def test_clipped_weights_leave_lower_slots_to_q():
    rng = np.random.default_rng(1)
    chance = _chance(rng)
    target = np.tile([0, 3, 2], (len(ORDERS), 1))
    q = np.tile(chance[(target == ORDERS).all(axis=1)], (len(ORDERS), 1))
    ratio = cascade_ratio(target, ORDERS, AVAILABLE)
    got = dr(0 * chance, cascade_weights(ratio, 5), q, q, replicates=5).value
    # Rewards of 0 against q̂: slot 1 is corrected wholly (weight 5), slot 2 by 5/20, slot 3 by 5/60.
    assert got == pytest.approx((q[0] * [0, 3 / 4, 11 / 12]).sum(), abs=1e-12)


def test_conditional_propensities_of_short_pages():
    found = conditional_propensity(np.array([4, 2]), 3)
    np.testing.assert_allclose(found, [[1 / 4, 1 / 3, 1 / 2], [1 / 2, 1, np.nan]])
    ratio = cascade_ratio(np.array([[1, 0, -1]]), np.array([[1, 0, -1]]), np.array([2]))
    np.testing.assert_allclose(ratio, [[2, 1, 0]])
    with pytest.raises(EvaluationError, match=r"available\[1\] is below 1"):
        conditional_propensity(np.array([3, 0]), 2)


def test_where_conditionals_are_not_known_it_says_why():
    policy = np.full(len(ORDERS), "random", dtype=object)
    marginal = np.full(ORDERS.shape, 1 / MODULES)

    def why(policy=policy, logged=ORDERS, propensity=marginal, available=AVAILABLE, single=False):
        return unknown_conditionals(policy, logged, propensity, available, single)

    assert why() is None
    assert "one slot a page" in why(single=True)
    mixed = policy.copy()
    mixed[3] = "thompson"
    assert "pages of thompson traffic" in why(policy=mixed)
    assert "candidates" in why(available=None)
    assert "not 1/candidates" in why(propensity=marginal * np.array([1, 1, 1.3]))
    assert "empty slots" in why(logged=np.where(np.arange(SLOTS) == 2, -1, ORDERS))


def test_slots_that_too_few_pages_agree_down_to():
    weight = np.zeros((200, 3))
    weight[:100, 0], weight[:30, 1], weight[:4, 2] = 5, 20, 60
    found = cascade_support(weight)
    assert found.pages == [100, 30, 4]
    assert "slots from 3 on to q̂: 4 logged pages" in found.warning
    assert cascade_support(weight[:, :2]).warning is None
