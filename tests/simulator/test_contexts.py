import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pageopt.simulator.catalog import PLATFORMS
from pageopt.simulator.contexts import BATCH, DAY, START, draw, item_log_odds, pick_items, plan
from pageopt.simulator.pull import heroes


@given(st.integers(1, 1_500_000), st.integers(1, 40))
def test_plan_numbers_every_page_once_in_bounded_batches(pages: int, days: int) -> None:
    batches = plan(pages, days)
    number = 0
    for day, _, first, count in batches:
        assert 0 <= day < days
        assert first == number
        assert 0 < count <= BATCH
        number += count
    assert number == pages
    assert [day for day, *_ in batches] == sorted(day for day, *_ in batches)


def test_exactly_the_pages_asked_for_in_time_order_within_the_day(shop) -> None:
    for pages in (1, 7, 2000):
        contexts = draw(shop.catalog, 2, 0, 100, pages)
        assert len(contexts) == pages
        assert contexts.number.tolist() == list(range(100, 100 + pages))
        assert (np.diff(contexts.ts) >= 0).all()
        assert contexts.ts.min() >= START + 2 * DAY
        assert contexts.ts.max() < START + 3 * DAY


def test_sessions_belong_to_one_person_and_have_no_long_gap(shop) -> None:
    contexts = draw(shop.catalog, 0, 0, 0, 3000)
    for session in np.unique(contexts.session)[:200]:
        rows = contexts.session == session
        assert len(set(contexts.person[rows])) == len(set(contexts.platform[rows])) == 1
        assert (np.diff(contexts.ts[rows]) < 10 * 60 * 1_000_000).all()


def test_a_mission_lasts_for_a_session_and_heroes_follow_it(shop) -> None:
    contexts = draw(shop.catalog, 0, 0, 0, 5000)
    order = np.lexsort((contexts.ts, contexts.session))
    same = contexts.session[order][1:] == contexts.session[order][:-1]
    for of_session in (contexts.category, contexts.wish):
        assert (of_session[order][1:] == of_session[order][:-1])[same].all()
        assert not (of_session[order][1:] == of_session[order][:-1])[~same].all()
    assert (contexts.group == contexts.hero_category * len(PLATFORMS) + contexts.platform).all()
    assert (shop.catalog.items.category[contexts.hero_item] == contexts.hero_category).all()


@pytest.mark.parametrize("off_mission", [0.0, 0.2, 0.7])
def test_the_hero_is_off_the_mission_as_often_as_asked_for(make_shop, off_mission: float) -> None:
    catalog = make_shop(off_mission=off_mission).catalog
    contexts = draw(catalog, 0, 0, 0, 8000)
    pair = np.zeros((4, 4))
    np.add.at(pair, (contexts.category, contexts.hero_category), 1)
    off = 1 - pair.trace() / 8000
    assert off == pytest.approx(off_mission, abs=4 * np.sqrt(off_mission * (1 - off_mission) / 8000))
    expected = heroes(catalog.params, catalog.complements)
    np.testing.assert_allclose(expected.sum(axis=1), 1)
    np.testing.assert_allclose(pair / pair.sum(axis=1, keepdims=True), expected, atol=0.06)


def test_what_is_looked_at_shows_taste_and_mission(make_shop) -> None:
    """The content of hero items, over that of their category, points where the person's taste does, and the mission."""
    catalog = make_shop(users=40, items=600, personal=0.5).catalog
    contexts = draw(catalog, 0, 0, 0, 20_000)
    own = catalog.items.content[contexts.hero_item] - catalog.category_content[contexts.hero_category]
    assert np.corrcoef(own.ravel(), contexts.wish.ravel())[0, 1] > 0.3
    seen = np.stack([own[contexts.person == person].mean(axis=0) for person in range(40)])
    assert np.corrcoef(seen.ravel(), catalog.people.taste.ravel())[0, 1] > 0.7


def test_items_are_picked_with_the_chances_stated(shop) -> None:
    catalog, wish = shop.catalog, np.linspace(-1.5, 1.5, 8, dtype=np.float32)
    rng = np.random.default_rng(0)
    picked = pick_items(rng, catalog, np.full(60_000, 2), np.tile(wish, (60_000, 1)))
    chance = np.exp(item_log_odds(catalog, 2, wish[None]))[0]
    expected = np.zeros(len(catalog.items.category))
    expected[catalog.items.first[2] : catalog.items.first[3]] = chance / chance.sum()
    seen = np.bincount(picked, minlength=len(expected)) / 60_000
    assert (np.abs(seen - expected) < 5 * np.sqrt(expected / 60_000) + 1e-9).all()


def test_so_many_pages_a_user(make_shop) -> None:
    """Activity is skewed, and a log of 50 pages a user is one: in the mean, with many who come rarely."""
    shop = make_shop(users=120, days=3)
    pages = np.bincount(np.concatenate([of_day.person for of_day in shop.contexts(6000)]), minlength=120)
    assert pages.mean() == 50
    assert np.median(pages) < 45
    assert pages.max() > 120


def test_contexts_do_not_depend_on_what_is_shown(shop) -> None:
    random, production = shop.logs("random", 500), shop.logs("production", 500)
    exogenous = ["page_id", "user_id", "ts", "platform", "hero_item_id", "candidates"]
    assert random.pages.select(exogenous).equals(production.pages.select(exogenous))
    assert random.truth.equals(production.truth)
