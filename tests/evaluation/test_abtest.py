import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pageopt.errors import EvaluationError
from pageopt.evaluation.abtest import (
    SAMPLE_RATIO_ALPHA,
    assign,
    compare,
    sample_ratio,
    sequential,
)
from pageopt.evaluation.spending import boundaries


def traffic(rng: np.random.Generator, users: int, lift: float = 0.0):
    """Clicks of a test: users of unlike activity and unlike taste, whose pages are therefore alike."""
    pages = 1 + rng.poisson(rng.gamma(1.0, 6.0, users))
    rate = 0.6 * rng.beta(2, 4, users)
    user = rng.permutation(np.repeat(np.arange(users), pages))
    arm = assign(user, f"salt {rng.integers(1 << 60)}", [0.5, 0.5])
    clicks = rng.binomial(1, rate[user] * np.where(arm == 1, 1 + lift, 1.0))
    return clicks, user, arm


def test_users_stay_in_their_arm_and_arms_have_their_shares() -> None:
    users = np.array([f"u{number}" for number in range(20_000)])
    arms = assign(users, "test", [0.5, 0.3, 0.2])
    assert np.array_equal(assign(users[::-1], "test", [0.5, 0.3, 0.2])[::-1], arms)
    assert stats.chisquare(np.bincount(arms), [10_000, 6_000, 4_000]).pvalue > 0.001
    # Written down once: an assignment that changes between releases would move users of a running test.
    assert assign(["u1", "u2", "u3", "u4", "u5", "u6"], "test", [0.5, 0.5]).tolist() == [1, 1, 0, 1, 1, 1]


def test_growing_an_arm_moves_nobody_out_of_it() -> None:
    users = np.arange(5000)
    small, large = (assign(users, "ramp", [share, 1 - share]) for share in (0.1, 0.4))
    assert (large[small == 0] == 0).all()


def test_another_salt_assigns_independently() -> None:
    users = np.arange(20_000)
    first, second = (assign(users, salt, [0.5, 0.5]) for salt in ("one", "two"))
    assert stats.chi2_contingency(np.histogram2d(first, second, bins=2)[0]).pvalue > 0.001


def test_compare_is_welchs_test_where_every_user_has_one_page() -> None:
    rng = np.random.default_rng(0)
    arm = (np.arange(300) < 90).astype(int)
    metric = rng.normal(5 + 0.5 * arm, 1 + arm)
    found = compare(metric, np.arange(300), arm)
    welch = stats.ttest_ind(metric[arm == 1], metric[arm == 0], equal_var=False)
    low, high = welch.confidence_interval(0.95)
    assert found.p_value == pytest.approx(welch.pvalue, rel=1e-9)
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high), rel=1e-9)
    assert found.users_by_arm == found.pages_by_arm == (210, 90)
    assert found.value == pytest.approx(metric[arm == 1].mean() / metric[arm == 0].mean() - 1)
    assert stats.norm.cdf(found.statistic) == pytest.approx(1 - welch.pvalue / 2, abs=1e-9)


def test_the_standard_error_is_that_of_resampled_users() -> None:
    rng = np.random.default_rng(1)
    clicks, user, arm = traffic(rng, 1500)
    found = compare(clicks, user, arm)
    total, pages = (np.bincount(user, weights=weight) for weight in (clicks, np.ones(len(user))))
    of_user = np.zeros(1500, dtype=int)
    of_user[user] = arm
    ratios = []
    for number in (0, 1):
        members = np.flatnonzero(of_user == number)
        drawn = rng.choice(members, (2000, len(members)))
        ratios.append(total[drawn].sum(axis=1) / pages[drawn].sum(axis=1))
    spread = (ratios[1] - ratios[0]).std()
    half = (found.difference.high - found.difference.low) / 2
    assert half == pytest.approx(1.96 * spread, rel=0.06)
    # Pages taken as independent would promise far more than there is.
    naive = np.sqrt(sum(clicks[arm == number].var() / (arm == number).sum() for number in (0, 1)))
    assert spread > 1.3 * naive


def test_intervals_cover_the_true_lift() -> None:
    rng = np.random.default_rng(2)
    lifts = [compare(*traffic(rng, 500, lift=0.2)) for _ in range(800)]
    covered = np.mean([lift.low <= 0.2 <= lift.high for lift in lifts])
    assert abs(covered - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 800)
    assert np.mean([lift.value for lift in lifts]) == pytest.approx(0.2, abs=0.02)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 0.999))
def test_the_interval_of_the_lift_excludes_zero_where_the_test_rejects(seed: int, confidence: float) -> None:
    found = compare(*traffic(np.random.default_rng(seed), 60, lift=0.3), confidence=confidence)
    rejected = found.p_value < 1 - confidence
    if abs(found.p_value - (1 - confidence)) > 1e-9 and np.isfinite(found.low):
        assert (found.low > 0 or found.high < 0) == rejected
    assert found.low <= found.value <= found.high
    assert (found.difference.low > 0 or found.difference.high < 0) == rejected


def test_a_control_that_may_be_zero_bounds_no_lift() -> None:
    metric, arm = np.zeros(40), np.repeat([0, 1], 20)
    metric[[0, 25, 26, 27]] = 1
    found = compare(metric, np.arange(40), arm)
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert np.isfinite(found.p_value)
    assert found.value == pytest.approx(2.0)
    assert found.users_by_arm == (20, 20)


def test_sample_ratio_mismatch_is_seen() -> None:
    users = np.repeat(np.arange(20_000), 3)
    arm = assign(users, "ratio", [0.4, 0.6])
    assert sample_ratio(users, arm, [0.4, 0.6]) > SAMPLE_RATIO_ALPHA
    assert sample_ratio(users, arm, [0.5, 0.5]) < 1e-10
    lost = (arm == 1) & (users % 10 == 0)  # a redirect that loses a tenth of one arm
    assert sample_ratio(users[~lost], arm[~lost], [0.4, 0.6]) < SAMPLE_RATIO_ALPHA
    count = np.bincount(assign(np.arange(20_000), "ratio", [0.4, 0.6]))
    assert sample_ratio(users, arm, [0.4, 0.6]) == pytest.approx(stats.chisquare(count, [8000, 12_000]).pvalue)


def test_looks_keep_the_error_that_naive_looks_do_not() -> None:
    """A/A tests with five looks, pages in random order, users who come back between looks."""
    rng = np.random.default_rng(3)
    tests, rejected, naive = 1000, 0, 0
    for _ in range(tests):
        clicks, user, arm = traffic(rng, 400)
        look = np.arange(len(clicks)) * 5 // len(clicks)
        done = sequential(clicks, user, arm, look)
        rejected += done[-1].crossed
        naive += any(at.lift.p_value < 0.05 for at in done)
    allowed = 0.05 + 3 * np.sqrt(0.05 * 0.95 / tests)
    assert rejected / tests < allowed < naive / tests


def test_a_large_effect_stops_the_test_early() -> None:
    clicks, user, arm = traffic(np.random.default_rng(4), 3000, lift=0.2)
    look = np.arange(len(clicks)) * 5 // len(clicks)
    done = sequential(clicks, user, arm, look)
    assert 1 < len(done) < 5
    assert [at.crossed for at in done] == [False] * (len(done) - 1) + [True]
    assert done[-1].lift.low > 0
    assert done[0].lift.low < 0 < done[0].lift.high
    alone = compare(clicks[look == 0], user[look == 0], arm[look == 0])
    assert done[0].lift.high - done[0].lift.low > 1.5 * (alone.high - alone.low)
    assert [at.boundary for at in done] == pytest.approx(boundaries(5)[: len(done)], rel=2e-3)


def test_a_running_test_has_spent_its_part_only() -> None:
    clicks, user, arm = traffic(np.random.default_rng(5), 500)
    look = np.arange(len(clicks)) * 2 // len(clicks)
    done = sequential(clicks, user, arm, look, planned_pages=4 * len(clicks), spending="pocock")
    assert [at.information for at in done] == pytest.approx([0.125, 0.25], abs=1e-3)
    assert done[1].boundary == pytest.approx(boundaries([0.125, 0.25, 1.0], spending="pocock")[1], rel=1e-3)


TWO = np.array([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: assign(["a", None], "s", [0.5, 0.5]), r"user_id\[1\] is null"),
        (lambda: assign(["a"], "s", [0.5, 0.6]), "sum to 1"),
        (lambda: compare([1.0, 2, 3], TWO, TWO), "user_id has 4 entries"),
        (lambda: compare([1.0, np.nan, 3, 4], np.arange(4), TWO), r"metric\[1\]"),
        (lambda: compare([1.0, 2, 3, 4], ["a", "b", "a", "c"], TWO), "1 users were in more than one arm"),
        (lambda: compare([1.0, 2, 3, 4], np.arange(4), TWO, treatment=2), "Arm 2 has 0 users"),
        (lambda: compare(np.ones(4), np.arange(4), TWO), "without spread"),
        (lambda: compare(np.arange(4.0), np.arange(4), TWO, confidence=95), "confidence"),
        (lambda: compare(np.arange(4.0), np.arange(4), TWO * 0.5), "whole numbers"),
        (lambda: sample_ratio(np.arange(4), TWO, [1.0]), "arm names arm 1"),
        (lambda: sample_ratio(np.arange(4), TWO, [1.0, 0.0]), "no share"),
        (lambda: sequential(np.arange(4.0), np.arange(4), TWO, [0.0] * 4), "look must hold"),
        (lambda: sequential(np.arange(4.0), np.arange(4), TWO, [0] * 4, planned_pages=3), "more than the 3 planned"),
    ],
)
def test_what_cannot_be_used_is_named(call, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        call()
