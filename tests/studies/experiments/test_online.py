import json

import msgspec
import numpy as np
import pytest

from pageopt.evaluation.abtest import compare
from pageopt.studies.experiments.findings import AbLift
from pageopt.studies.experiments.online import Arms, ab_test
from pageopt.studies.experiments.values import PageValues

SLOTS = 3


def shop(seed: int, *, pages=20_000, users=2000, lift=0.0) -> Arms:
    random = np.random.default_rng(seed)
    click = random.uniform(0.02, 0.2, (pages, SLOTS))
    owner = random.integers(0, users, pages)
    user = np.array([f"u{each}" for each in owner], dtype=object)
    user[random.random(pages) < 0.05] = None
    return Arms(
        user, random.permutation(pages), PageValues(click, click * 0.2), PageValues(click * (1 + lift), click * 0.2)
    )


def test_a_real_lift_is_found_and_about_right():
    found = ab_test({1: shop(1, lift=0.2), 2: shop(2, lift=0.2)}, "real", looks=4, confidence=0.95)
    lift = found.ctr.lift
    assert lift.low < 0.2 < lift.high
    assert lift.p_value < 1e-6
    assert found.ctr.stopped
    assert len(found.ctr.looks) < 4  # such a lift shows before the end
    assert found.sample_ratio_p > 0.001


def test_tests_without_effect_reject_about_as_often_as_they_may():
    results = [ab_test({1: shop(7, pages=3000)}, f"none {n}", looks=3, confidence=0.8) for n in range(60)]
    rejected = sum(result.ctr.lift.p_value < 0.2 for result in results)
    assert 3 <= rejected <= 24  # binomial(60, 0.2), beyond 1 in 10,000 on each side
    assert sum(result.ctr.stopped for result in results) <= 24


def test_visits_without_a_user_are_left_out_and_users_of_seeds_are_different_people():
    shops = {seed: shop(seed, pages=4000, users=300) for seed in (1, 2)}
    found = ab_test(shops, "who", looks=2, confidence=0.95)
    known = [[user for user in each.user_id if user is not None] for each in shops.values()]
    assert found.pages == sum(map(len, known))
    assert found.users == sum(len(set(users)) for users in known)


def test_the_same_test_gives_the_same_figures():
    first, second = (ab_test({3: shop(3, pages=2000)}, "again", looks=2, confidence=0.95) for _ in range(2))
    assert first == second
    assert ab_test({3: shop(3, pages=2000)}, "other", looks=2, confidence=0.95) != first


def test_a_lift_without_bounds_has_none_in_the_report():
    metric, arm = np.zeros(40), np.repeat([0, 1], 20)
    metric[[0, 25, 26, 27]] = 1
    lift = compare(metric, np.arange(40), arm)
    written = json.loads(json.dumps(msgspec.to_builtins(AbLift.of(lift)), allow_nan=False))
    assert written["low"] is written["high"] is None
    assert written["value"] == pytest.approx(2.0)
    assert written["difference"] == vars(lift.difference)
    assert written["users_by_arm"] == [20, 20]


def test_a_metric_without_any_event_says_why_there_is_no_test():
    nothing = np.zeros((500, SLOTS))
    user = np.array([f"u{n % 50}" for n in range(500)], dtype=object)
    values = PageValues(nothing + 0.3, nothing)
    found = ab_test({1: Arms(user, np.arange(500), values, values)}, "none", looks=2, confidence=0.95)
    assert found.ptr.lift is None
    assert "spread" in found.ptr.why
    assert found.ctr.lift.value == pytest.approx(0, abs=0.5)
