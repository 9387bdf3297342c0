"""What every store of users' features promises; each backend runs through it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pageopt.features.counters import HOUR, CounterLayout, UserState, page_counters
from pageopt.features.store.base import EventRow, PageRow, UserStore
from pageopt.features.store.folding import Known
from pageopt.features.store.snapshot import UserRow, UserSnapshot, write_snapshot
from pageopt.features.store.sqlite import SqliteUserStore

T0 = 1_700_000_000_000_000
LAYOUT = CounterLayout(
    (1, 24),
    ("view", "click", "cart"),
    ("bags", "shoes"),
    ("t0", "t1"),
    {"family": {"alike": 0.1, "bought": 0.05}, "theme": {"red": 0.1}},
    (24,),
)
KNOWN = Known(
    {"m1": {"family": "alike", "theme": "red"}, "m2": {"family": "bought"}},
    {"i1": {"category": "bags", "topic": {"t0": 0.75, "t1": 0.25}}, "i2": {"category": "shoes", "topic": "t1"}},
)


def snapshot_at(path: Path, reference_us: int) -> UserSnapshot:
    """A snapshot in which u1 clicked an hour before it."""
    state = UserState(LAYOUT)
    state.add("click", reference_us - HOUR, **KNOWN.modules["m2"], **KNOWN.items["i2"])
    user = UserRow("u1", state.decayed_to(reference_us), {"tier": "gold"})
    write_snapshot(path, [user], LAYOUT, reference_us=reference_us, declared=("tier",), known=KNOWN)
    return UserSnapshot(path)


@pytest.fixture(params=[SqliteUserStore])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., UserStore]:
    """Open the store; a second time with all that the first was told."""

    def call(reference_us: int = T0) -> UserStore:
        snapshot = snapshot_at(tmp_path / f"users-{reference_us}.sqlite", reference_us)
        return request.param(tmp_path / "state" / "events", snapshot)

    return call


def event(number: int, kind: str = "click", at: float = 0.0, **more: str | None) -> EventRow:
    """An event of u1, `at` hours after the snapshot, on a page."""
    row = {"user_id": "u1", "page_id": "p1", "module_id": "m1", "item_id": "i1", **more}
    return EventRow(f"e{number:04}", T0 + round(at * HOUR), kind=kind, **row)


def test_before_any_event_it_reads_as_the_snapshot(open_store) -> None:
    store = open_store()
    assert store.features("u1", "shoes", T0)["user_hero_click_1h"] == 0.5
    assert store.features("u1", "shoes", T0 + HOUR)["user_hero_click_1h"] == 0.25
    assert store.features("u1", "shoes", T0 - 5 * HOUR)["user_hero_click_1h"] == 0.5
    assert store.features("u1", "shoes", T0)["tier"] == "gold"
    for user_id in ("nobody", None):
        assert {value for value in store.features(user_id, "shoes", T0).values() if value is not None} == {0.0}


def test_an_event_is_seen_by_the_next_page_of_its_user_and_by_no_earlier_one(open_store) -> None:
    store = open_store()
    newcomer, known = event(1, at=2, user_id="u2"), event(2, at=2)
    assert store.fold([newcomer, known]) == 2
    before, after = (store.features("u2", "bags", T0 + 2 * HOUR + us) for us in (0, 1))
    assert before["user_click_24h"] == 0
    assert after["user_click_24h"] == pytest.approx(1)
    assert after["user_hero_click_1h"] == pytest.approx(1)
    assert (after["user_family_lift_24h_alike"] > 0, after["tier"]) == (True, None)
    assert store.features("u1", "bags", T0 + 3 * HOUR)["user_click_1h"] == pytest.approx(0.5 + 0.5**4)
    assert store.features("u3", "bags", T0 + 3 * HOUR)["user_click_1h"] == 0


def test_any_order_and_any_number_of_arrivals_give_the_same_features(open_store) -> None:
    random = np.random.default_rng(7)
    kinds, modules, items = ("click", "cart", "purchase"), ("m1", "m2", "new", None), ("i1", "i2", "new", None)
    pages = [
        PageRow(
            f"p{n}", T0 + round(random.uniform(0, 90) * HOUR), "u1", f"i{n % 3}", ("m1", "m2", "m1", "new")[: n % 5]
        )
        for n in range(100)
    ]
    events = [
        event(n, str(random.choice(kinds)), random.uniform(0, 90), module_id=modules[n % 4], item_id=items[n // 4 % 4])
        for n in range(200)
    ]
    at_us = T0 + 60 * HOUR
    store = open_store()
    for part in np.array_split(random.permutation(np.tile(np.arange(200), 3)), 20):
        store.fold([events[place] for place in part])
        store.see([pages[place] for place in part if place < 100])
    features = store.features("u1", "bags", at_us)
    assert (store.fold(events), store.see(pages)) == (0, 0)
    assert features == open_store().features("u1", "bags", at_us)

    state = UserState(LAYOUT)
    state.add("click", T0 - HOUR, **KNOWN.modules["m2"], **KNOWN.items["i2"])
    for row in events:
        if row.ts < at_us:
            state.add(
                row.kind, row.ts, **KNOWN.modules.get(row.module_id or "", {}), **KNOWN.items.get(row.item_id or "", {})
            )
    for page in pages:
        if page.ts < at_us:
            state.add("view", page.ts, **KNOWN.items.get(page.item_id, {}))
            for module_id in page.module_ids:
                state.add("shown", page.ts, **KNOWN.modules.get(module_id, {}))
    expected = page_counters(state.decayed_to(at_us), "bags", LAYOUT)
    assert {name: features[name] for name in LAYOUT.names} == pytest.approx(expected)


def test_a_page_that_was_shown_is_known_to_the_next_one_of_its_user_once(open_store) -> None:
    store = open_store()
    page = PageRow("p1", T0 + HOUR, "u2", "i1", ("m1", "m2", "m1"))
    nobodys = page._replace(page_id="p2", user_id=None)
    assert (store.see([page, nobodys]), store.see([page._replace(ts=T0 + 2 * HOUR)])) == (1, 0)
    own, later = (store.features("u2", "bags", T0 + HOUR + us) for us in (0, 1))
    assert {value for value in own.values() if value is not None} == {0.0}
    assert later["user_hero_view_1h"] == pytest.approx(1)
    assert later["user_topic_view_24h_t0"] == pytest.approx(0.75 / 2)
    assert later["user_family_lift_24h_alike"] == pytest.approx(np.log(1 / (1 + 2 * 0.1)))
    assert later["user_click_24h"] == 0


def test_a_newer_snapshot_starts_clean_and_an_older_one_counts_again(open_store) -> None:
    open_store().fold([event(1, at=1), event(2, at=30)])
    at_us = T0 + 30 * HOUR + 1
    newer = open_store(T0 + 24 * HOUR)
    assert newer.features("u1", "bags", T0 + 24 * HOUR)["user_hero_click_1h"] == 0
    assert newer.features("u1", "bags", at_us)["user_hero_click_1h"] == pytest.approx(1)
    assert newer.fold([event(1, at=1)]) == 0
    older = open_store()
    assert older.features("u1", "bags", at_us)["user_hero_click_24h"] == pytest.approx(1 + 2 ** (-29 / 24))


def test_an_event_of_nobody_is_kept_and_counts_for_nobody(open_store) -> None:
    store = open_store()
    assert (store.fold([event(1, user_id=None)]), store.fold([event(1, user_id=None)])) == (1, 0)
    assert store.features(None, "bags", T0 + HOUR)["user_click_24h"] == 0
