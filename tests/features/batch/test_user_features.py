import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pageopt.features.batch.user_features import counters_at
from pageopt.features.counters import HOUR, CounterLayout, UserState, on_page, page_counters

LAYOUT = CounterLayout(
    half_lives_hours=(0.25, 168),
    kinds=("view", "click", "cart"),
    categories=("ca", "cb", "cc"),
    topics=("t0", "t1"),
    lifts={"family": {"fa": 0.1, "fb": 0.02}},
    lift_half_lives_hours=(24,),
)
T0 = 1_700_000_000_000_000
KEYS = {group.by: group.keys for group in LAYOUT.groups if group.by}
KINDS = ("click", "click", "view", "shown", "cart", "purchase")


def brute_force(pages, events):
    """Every event that is strictly before the page, one by one, on the reference state."""
    rows = []
    for page in pages:
        state = UserState(LAYOUT)
        for event in events:
            if event["user"] == page["user"] and event["us"] < page["us"]:
                of = {by: {keys[k]: t for k, t in event[by].items()} for by, keys in KEYS.items()}
                state.add(event["kind"], event["us"], **of)
        hero = None if page["category"] is None else LAYOUT.categories[page["category"]]
        rows.append(page_counters(state.decayed_to(page["us"]), hero, LAYOUT))
    return rows


def computed(pages, events):
    """Batch features of rows, of each event as many as it has keys."""
    types = {"user": pa.int64(), "us": pa.int64(), "category": pa.int64()}
    points = pa.Table.from_pylist(pages, pa.schema(types))
    rows: list[dict] = [{} for _ in pages]
    for group in LAYOUT.groups:
        counted = [
            {"user": e["user"], "us": e["us"], "kind": e["kind"], "times": float(times), group.by: key}
            for e in events
            if e["kind"] in group.kinds
            for key, times in (e[group.by] if group.by else {0: 1}).items()
        ]
        schema = {"user": pa.int64(), "us": pa.int64(), "kind": pa.string(), "times": pa.float64()}
        theirs = pa.Table.from_pylist(counted, pa.schema({**schema, group.by: pa.int64()}))
        values = on_page(counters_at(points, theirs, group), group, LAYOUT.prior_clicks)
        for row, shown in zip(rows, values.tolist(), strict=True):
            row |= dict(zip(group.columns, shown, strict=True))
    return rows


def assert_agree(found, expected):
    assert len(found) == len(expected)
    for mine, reference in zip(found, expected, strict=True):
        assert mine == {name: pytest.approx(value, rel=1e-9, abs=1e-12) for name, value in reference.items()}


def logs(hours: int):
    """Pages and events over some hours; whole hours make ties between pages and events likely."""
    us = st.one_of(
        st.integers(0, hours).map(lambda hour: T0 + hour * HOUR), st.integers(0, hours * HOUR).map(lambda us: T0 + us)
    )
    page = st.fixed_dictionaries({"user": st.integers(0, 2), "category": st.none() | st.integers(0, 2), "us": us})
    keys = {
        by: st.dictionaries(st.integers(0, len(names) - 1), st.sampled_from([1, 2, 0.25]), max_size=2)
        for by, names in KEYS.items()
    }
    event = {"user": st.sampled_from([0, 0, 1, 7]), "us": us, "kind": st.sampled_from(KINDS), **keys}
    return st.tuples(st.lists(page, min_size=1, max_size=30), st.lists(st.fixed_dictionaries(event), max_size=30))


@given(logs(hours=100))
@settings(deadline=None)
def test_batch_agrees_with_the_reference(rows) -> None:
    assert_agree(computed(*rows), brute_force(*rows))


@given(logs(hours=50_000))
@settings(max_examples=30, deadline=None)
def test_batch_agrees_over_years(rows) -> None:
    assert_agree(computed(*rows), brute_force(*rows))


def click(us: int, **of) -> dict:
    return {"user": 0, "us": us, "kind": "click", "family": {0: 1}, "category": {0: 1}, "topic": {1: 1}} | of


def test_what_a_user_gets_does_not_depend_on_who_is_computed_beside() -> None:
    random = np.random.default_rng(0)
    events = [click(T0 + int(us), user=int(user)) for user, us in random.integers(0, [3, 90 * HOUR], (300, 2))]
    pages = [{"user": n % 3, "category": 0, "us": T0 + n * HOUR} for n in range(90)]
    alone = computed([p for p in pages if p["user"] == 1], [e for e in events if e["user"] == 1])
    assert [row for row, page in zip(computed(pages, events), pages, strict=True) if page["user"] == 1] == alone


def test_the_page_does_not_know_its_own_time_or_what_comes_after() -> None:
    """Its own impressions and views are at its own time, its clicks after it."""
    pages = [{"user": 0, "category": 0, "us": T0}]
    before = [click(T0 - 1)]
    planted = [
        click(T0 + later, kind=kind)
        for later, kind in [(0, "view"), (0, "shown"), (0, "click"), (1, "cart"), (5, "click")]
    ]
    assert computed(pages, before) == computed(pages, before + planted)


def test_no_events() -> None:
    assert set(computed([{"user": 0, "category": None, "us": T0}], [])[0].values()) == {0.0}
