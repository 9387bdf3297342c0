import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pageopt.simulator.catalog import PLATFORMS
from pageopt.simulator.contexts import BATCH, DAY, START, draw, plan


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


def test_intent_drifts_and_heroes_follow_it(shop) -> None:
    contexts = draw(shop.catalog, 0, 0, 0, 5000)
    assert 0.6 < (contexts.hero_category == contexts.category).mean() < 0.95
    order = np.lexsort((contexts.ts, contexts.session))
    same = contexts.session[order][1:] == contexts.session[order][:-1]
    moved = (contexts.category[order][1:] != contexts.category[order][:-1])[same]
    assert 0.02 < moved.mean() < 0.3
    assert (contexts.group == contexts.hero_category * len(PLATFORMS) + contexts.platform).all()
    assert (shop.catalog.items.category[contexts.hero_item] == contexts.hero_category).all()


def test_contexts_do_not_depend_on_what_is_shown(shop) -> None:
    random, production = shop.logs("random", 500), shop.logs("production", 500)
    exogenous = ["page_id", "user_id", "ts", "platform", "hero_item_id", "candidates"]
    assert random.pages.select(exogenous).equals(production.pages.select(exogenous))
    assert random.truth.equals(production.truth)
