import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import UserBootstrap, unit_codes
from pageopt.evaluation.offpolicy import cascade_weights, difference, dm, dr, ips, sndr_estimate, snips

finite = st.floats(0, 5, allow_subnormal=False)


@st.composite
def logs(draw, slots=None):
    pages = draw(st.integers(1, 12))
    shape = (pages,) if slots is None and draw(st.booleans()) else (pages, slots or draw(st.integers(1, 4)))
    values = [draw(arrays(float, shape, elements=finite)) for _ in range(4)]
    values[1] = values[1] + 0.01  # some weight in every slot, so that SNIPS is defined
    return values


def _sndr(reward, weight, q_logged, q_target):
    return sndr_estimate(reward, weight, q_logged, q_target, UserBootstrap(len(reward), replicates=5))


@given(logs())
@settings(max_examples=60, deadline=None)
def test_values_are_the_formulas(arrays_):
    reward, weight, q_logged, q_target = arrays_
    per_page = (lambda a: a) if reward.ndim == 1 else (lambda a: a.sum(axis=1))
    quick = {"replicates": 5}
    assert dm(q_target, **quick).value == pytest.approx(per_page(q_target).mean(), abs=1e-12)
    assert ips(reward, weight, **quick).value == pytest.approx(per_page(weight * reward).mean(), abs=1e-12)
    by_slot = (weight * reward).sum(axis=0) / weight.sum(axis=0)
    assert snips(reward, weight, **quick).value == pytest.approx(np.sum(by_slot), abs=1e-12, rel=1e-12)
    expected = per_page(q_target + weight * (reward - q_logged)).mean()
    assert dr(reward, weight, q_logged, q_target, **quick).value == pytest.approx(expected, abs=1e-12)
    corrections = (weight * (reward - q_logged)).sum(axis=0) / weight.sum(axis=0)
    expected = per_page(q_target).mean() + np.sum(corrections)
    assert _sndr(reward, weight, q_logged, q_target).value == pytest.approx(expected, abs=1e-12, rel=1e-12)


@given(logs(slots=3), st.sampled_from([np.inf, 8.0]))
@settings(max_examples=40, deadline=None)
def test_cascade_dr_is_the_formula(arrays_, most):
    reward, ratio, q_logged, q_target = arrays_
    total = 0.0
    for page in range(len(reward)):
        product = 1.0
        for slot in range(3):
            product *= ratio[page, slot]
            weight = min(product, most)
            total += q_target[page, slot] + weight * (reward[page, slot] - q_logged[page, slot])
    got = dr(reward, cascade_weights(ratio, most), q_logged, q_target, replicates=5).value
    assert got == pytest.approx(total / len(reward), abs=1e-12, rel=1e-12)


@given(logs(slots=2))
@settings(max_examples=20, deadline=None)
def test_self_normalised_dr_does_not_ask_for_the_scale_of_propensities(arrays_):
    reward, weight, q_logged, q_target = arrays_
    once, thrice = (_sndr(reward, w, q_logged, q_target).value for w in (weight, 3 * weight))
    assert once == pytest.approx(thrice, abs=1e-10)


@given(logs(), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_interval_holds_the_value_and_depends_on_the_seed_only(arrays_, seed):
    reward, weight, q_logged, q_target = arrays_
    for estimate in (
        lambda: dr(reward, weight, q_logged, q_target, seed=seed, replicates=20),
        lambda: snips(reward, weight, seed=seed, replicates=20),
    ):
        first = estimate()
        assert first.low <= first.value <= first.high
        assert estimate() == first


def test_unit_weights_give_the_mean_of_what_was_shown():
    reward = np.random.default_rng(0).random((50, 3))
    ones = np.ones_like(reward)
    on_policy = reward.sum(axis=1).mean()
    assert ips(reward, ones).value == pytest.approx(on_policy)
    assert snips(reward, ones).value == pytest.approx(on_policy)
    assert dr(reward, ones, 0.3 * ones, 0.3 * ones).value == pytest.approx(on_policy)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r, w, q: ips(r, w[:-1]), r"weight has shape \(3, 2\), but \(4, 2\) is needed"),
        (lambda r, w, q: ips(r, np.where(w == w[1, 0], np.nan, w)), r"weight\[1, 0\] is nan"),
        (lambda r, w, q: snips(r, -w), r"weight\[0, 0\] is -.*cannot be negative"),
        (lambda r, w, q: dr(r, w, q[:, :1], q), r"q_logged has shape \(4, 1\)"),
        (lambda r, w, q: dr(r, w, q, np.where(q == q[2, 1], np.inf, q)), r"q_target\[2, 1\] is inf"),
        (lambda r, w, q: dm(q[:, :, None]), r"q_target must have shape \[pages\] or \[pages, slots\]"),
        (lambda r, w, q: dm(q, user_id=["a"]), r"user_id has shape \(1,\), but there are 4 pages"),
        (lambda r, w, q: dm([["a"]]), r"q_target must hold numbers"),
        (lambda r, w, q: ips(r[:0], w[:0]), r"at least one page"),
        (lambda r, w, q: snips(r, w * [1, 0]), r"weight\[:, 1\] is zero on every page"),
        (lambda r, w, q: _sndr(r, w * [1, 0], q, q), r"weight\[:, 1\] is zero on every page.*self-normalised DR"),
        (lambda r, w, q: dm(q, replicates=0), r"replicates ≥ 1"),
        (lambda r, w, q: difference(r, r), r"first has shape \(4, 2\)"),
        (lambda r, w, q: difference(r[:, 0], r[:3, 0]), r"second has shape \(3,\)"),
    ],
)
def test_errors_name_argument_and_index(call, message):
    rng = np.random.default_rng(1)
    reward, weight, q = rng.random((3, 4, 2)) + 0.1
    with pytest.raises(EvaluationError, match=message) as error:
        call(reward, weight, q)
    assert re.search(r"[.]$", str(error.value))


def test_nulls_are_units_of_their_own():
    codes = unit_codes(6, np.array(["a", None, "b", "a", None, float("nan")], dtype=object))
    assert codes[0] == codes[3]
    assert sorted(set(codes.tolist())) == [0, 1, 2, 3, 4]


def test_bootstrap_draws_as_many_units_as_there_are():
    bootstrap = UserBootstrap(40, np.arange(40) % 7, replicates=30)
    assert (bootstrap.counts.sum(axis=1) == 7).all()
    columns = np.random.default_rng(0).random((40, 2))
    expected = np.array([[columns[np.arange(40) % 7 == u].sum(axis=0) for u in range(7)]])[0]
    np.testing.assert_allclose(bootstrap.sums(columns), bootstrap.counts @ expected)


def test_interval_is_the_standard_error_of_users_not_of_pages():
    rng = np.random.default_rng(2)
    users = np.repeat(np.arange(400), 5)
    value = np.repeat(rng.normal(size=400), 5)
    by_user, by_page = dm(value, users), dm(value)
    expected = 2 * 1.96 * value[::5].std() / np.sqrt(400)
    assert by_user.high - by_user.low == pytest.approx(expected, rel=0.1)
    assert by_page.high - by_page.low == pytest.approx(expected / np.sqrt(5), rel=0.1)


def _world(rng, pages):
    """Logged slates of a non-uniform policy where click rates are known, and a target that reads contexts."""
    context, actions, slots = rng.integers(0, 3, pages), 5, 2
    truth = np.random.default_rng(9).uniform(0.05, 0.6, (3, slots, actions))
    logging = np.array([0.1, 0.15, 0.2, 0.25, 0.3])
    shown = rng.choice(actions, size=(pages, slots), p=logging)
    slot = np.arange(slots)
    chance = truth[context[:, None], slot, shown]
    reward = (rng.random((pages, slots)) < chance).astype(float)
    target = (context[:, None] + slot) % actions
    weight = (target == shown) / logging[shown]
    return context, truth, shown, reward, target, weight


def test_ips_and_dr_are_unbiased_and_their_intervals_cover():
    errors, covered = {"ips": [], "snips": [], "dr": [], "dr_bad_q": []}, {"dr": 0, "ips": 0}
    rounds = 150
    for seed in range(rounds):
        context, truth, shown, reward, target, weight = _world(np.random.default_rng(seed), 400)
        slot = np.arange(2)
        value = truth[context[:, None], slot, target].sum(axis=1).mean()
        q_logged, q_target = truth[context[:, None], slot, shown], truth[context[:, None], slot, target]
        quick = {"seed": seed, "replicates": 100}
        got = {
            "ips": ips(reward, weight, **quick),
            "snips": snips(reward, weight, **quick),
            "dr": dr(reward, weight, q_logged, q_target, **quick),
            "dr_bad_q": dr(reward, weight, 0.9 - q_logged, 0.9 - q_target, **quick),
        }
        for name, estimate in got.items():
            errors[name].append(estimate.value - value)
            if name in covered:
                covered[name] += estimate.low <= value <= estimate.high
    for name, error in errors.items():
        bound = 4 * np.std(error) / np.sqrt(rounds)
        assert abs(np.mean(error)) < bound, name
    assert np.std(errors["dr"]) < np.std(errors["ips"])
    assert all(0.87 <= count / rounds <= 1.0 for count in covered.values()), covered


def test_difference_is_paired_and_its_ratio_is_bootstrapped():
    rng = np.random.default_rng(4)
    common = rng.exponential(size=2000)
    first, second = 1.1 * common, common + rng.normal(0, 0.01, 2000)
    got = difference(first, second, replicates=300)
    assert got.absolute.value == pytest.approx((first - second).mean())
    assert got.relative is not None
    assert got.relative.value == pytest.approx(first.mean() / second.mean() - 1)
    assert 0.09 < got.relative.low < got.relative.high < 0.11  # unpaired it would be about ±0.045
    assert difference(first, -second).relative is None
    assert difference(first, second - second.mean() + 1e-3).relative is None


def test_a_seed_says_which_users_are_drawn():
    value, users = np.arange(30.0), np.arange(30) % 11
    assert dm(value, users, seed=5, replicates=50) == dm(value, users, seed=5, replicates=50)
    assert dm(value, users, seed=5, replicates=50) != dm(value, users, seed=6, replicates=50)
