from dataclasses import replace

import numpy as np
import pytest

from pageopt.simulator.contexts import Contexts, draw
from pageopt.simulator.traffic import POLICIES, Traffic

PAGES = 4000


def same_group(contexts: Contexts, group: int) -> Contexts:
    return replace(contexts, group=np.full(len(contexts), group), hero_category=np.full(len(contexts), group // 3))


def assigned(policy: str) -> np.ndarray:
    return np.full(PAGES, POLICIES.index(policy))


@pytest.fixture
def contexts(shop) -> Contexts:
    return same_group(draw(shop.catalog, 0, 0, 0, PAGES), 4)


@pytest.mark.parametrize("policy", ["random", "thompson"])
@pytest.mark.parametrize("diversity", ["swap", "demote", None])
def test_propensities_are_how_often_modules_are_shown(make_shop, contexts, policy: str, diversity: str | None) -> None:
    catalog = make_shop(thompson_diversity=diversity, propensity_samples=20_000).catalog
    rng = np.random.default_rng(0)
    traffic = Traffic(catalog)
    modules, _ = traffic.choose(contexts, 0, assigned("random"), rng)
    traffic.record(contexts, assigned("random"), modules, rng.random(modules.shape) < 0.02 + 0.004 * modules)
    modules, propensity = traffic.choose(contexts, 1, assigned(policy), rng)
    for slot in range(modules.shape[1]):
        for module in catalog.candidates[4, : catalog.candidate_count[4]]:
            here = modules[:, slot] == module
            if here.any():
                stated = propensity[here, slot]
                assert (stated == stated[0]).all()
                error = np.sqrt(stated[0] * (1 - stated[0]) * (1 / PAGES + 1 / 20_000))
                assert abs(here.mean() - stated[0]) < 4.5 * error
                if policy == "random":
                    assert stated[0] == 1 / catalog.candidate_count[4]


def test_thompson_learns_over_night_and_not_before(make_shop, contexts) -> None:
    traffic = Traffic(make_shop(thompson_diversity=None).catalog)
    rng = np.random.default_rng(0)
    modules, before = traffic.choose(contexts, 0, assigned("thompson"), rng)
    best = modules[0, 0]
    traffic.record(contexts, assigned("thompson"), modules, modules == best)
    same_day, _ = traffic.choose(contexts, 0, assigned("thompson"), rng)
    next_day, after = traffic.choose(contexts, 1, assigned("thompson"), rng)
    assert (same_day[:, 0] == best).mean() < 0.3
    assert (next_day[:, 0] == best).all()
    assert before[0, 0] < 0.3
    assert after[0, 0] == 1


def test_production_is_one_page_a_group_and_keeps_the_family_rule(shop) -> None:
    contexts = draw(shop.catalog, 0, 0, 0, PAGES)
    modules, propensity = Traffic(shop.catalog).choose(contexts, 0, assigned("production"), np.random.default_rng(0))
    assert np.unique(modules, axis=0).shape[0] <= shop.catalog.groups
    assert (propensity == 1).all()
    family = shop.catalog.modules.family[modules]
    assert (family[:, 1:] != family[:, :-1]).all()


def test_production_teaches_thompson_nothing(shop, contexts) -> None:
    traffic, untaught = Traffic(shop.catalog), Traffic(shop.catalog)
    modules, _ = traffic.choose(contexts, 0, assigned("production"), np.random.default_rng(0))
    traffic.record(contexts, assigned("production"), modules, np.ones(modules.shape, dtype=bool))
    pages = [t.choose(contexts, 1, assigned("thompson"), np.random.default_rng(1))[0] for t in (traffic, untaught)]
    assert np.array_equal(*pages)


def test_pages_shorter_than_the_slots(make_shop) -> None:
    shop = make_shop(slots=12, available=5)
    for policy in POLICIES:
        log = shop.logs(policy, 300)
        assert log.impressions.num_rows < 300 * 12
        assert log.impressions["propensity"].null_count == 0
