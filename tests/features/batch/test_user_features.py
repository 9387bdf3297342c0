import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pageopt.features.batch.user_features import STRETCH, counters_by_key, dense_counters, on_pages, top_of
from pageopt.features.counters import HOUR, CounterLayout, UserState, page_counters

LAYOUT = CounterLayout(
    half_lives_hours=(1, 168),
    family_kinds=("click", "purchase"),
    category_kinds=("click", "cart"),
    families=("fa", "fb"),
    categories=("ca", "cb", "cc"),
)
T0 = 1_700_000_000_000_000
PAGE_SCHEMA = pa.schema([(name, pa.int64()) for name in ("page", "user", "category", "us")])
EVENT_SCHEMA = pa.schema(
    [
        (name, pa.string() if name == "kind" else pa.int64())
        for name in ("user", "us", "seq", "kind", "family", "category")
    ]
)


def brute_force(pages, events):
    """Every event that is strictly before the page, one by one, on the reference state."""
    rows = {}
    for page in pages:
        state = None
        if page["user"] is not None:
            state = UserState(LAYOUT)
            for event in events:
                if event["user"] == page["user"] and event["us"] < page["us"]:
                    state.add(
                        event["kind"],
                        event["us"],
                        family=None if event["family"] is None else LAYOUT.families[event["family"]],
                        category=None if event["category"] is None else LAYOUT.categories[event["category"]],
                    )
            state = state.decayed_to(page["us"])
        hero = None if page["category"] is None else LAYOUT.categories[page["category"]]
        rows[page["page"]] = page_counters(state, hero, LAYOUT)
    return rows


@pytest.fixture(scope="module")
def computed():
    """Batch features as a function of lists of rows; queries are compiled once, which is slower than running them."""
    connection = ibis.duckdb.connect()
    points = connection.create_table("points", schema=ibis.Schema.from_pyarrow(PAGE_SCHEMA)).rename(point="page")
    events = connection.create_table("events", schema=ibis.Schema.from_pyarrow(EVENT_SCHEMA))
    points, events = points.filter(points.user.notnull()), events.filter(events.user.notnull())
    dense = {g.name: dense_counters(points, events, g, LAYOUT) for g in LAYOUT.groups if not g.spread}
    sparse = {g.name: counters_by_key(points, events, g, LAYOUT) for g in LAYOUT.groups if g.top}
    tops = {g.top: top_of(sparse[g.name], g, LAYOUT) for g in LAYOUT.groups if g.top}
    queries = {name: ibis.to_sql(expression) for name, expression in (sparse | dense | tops).items()}

    def compute(page_rows, event_rows):
        for name, rows, schema in (("points", page_rows, PAGE_SCHEMA), ("events", event_rows, EVENT_SCHEMA)):
            connection.truncate_table(name)
            connection.insert(name, ibis.memtable(pa.Table.from_pylist(rows, schema)))
        tables = {name: connection.raw_sql(query).to_arrow_table() for name, query in queries.items()}
        features = {page["page"]: page_counters(None, None, LAYOUT) for page in page_rows}
        for group in LAYOUT.groups:
            rows = tables[group.name]
            columns = on_pages(rows, rows["point"].to_numpy(), group, LAYOUT, len(page_rows))
            assert tuple(columns) == LAYOUT.columns(group)
            for name, values in columns.items():
                for page, value in enumerate(values.tolist()):
                    features[page][name] = value
            for row in tables[group.top].to_pylist() if group.top else ():
                features[row["point"]][group.top] = group.keys[row["top"]]
        return features

    yield compute
    connection.disconnect()


def assert_agree(found, expected):
    assert found.keys() == expected.keys()
    for page, features in expected.items():
        for name, value in features.items():
            if value is None or isinstance(value, str):
                assert found[page][name] == value, (page, name)
            else:
                assert found[page][name] == pytest.approx(np.float32(value), rel=1e-6, abs=0), (page, name)


def logs(hours: int):
    """Pages and events over some hours; whole hours make ties between pages and events likely."""
    us = st.one_of(
        st.integers(0, hours).map(lambda hour: T0 + hour * HOUR), st.integers(0, hours * HOUR).map(lambda us: T0 + us)
    )
    category = st.none() | st.integers(0, 2)
    page = st.fixed_dictionaries({"user": st.sampled_from([0, 1, None]), "category": category, "us": us})
    event = st.fixed_dictionaries(
        {
            "user": st.sampled_from([0, 0, 1, None]),
            "us": us,
            "kind": st.sampled_from(["click", "click", "cart", "purchase", "watch"]),
            "family": st.none() | st.integers(0, 1),
            "category": category,
        }
    )
    return st.tuples(st.lists(page, min_size=1, max_size=30), st.lists(event, max_size=30))


def numbered(log):
    pages, events = log
    events = sorted(events, key=lambda event: event["us"])
    return (
        [{**page, "page": number} for number, page in enumerate(pages)],
        [{**event, "seq": number} for number, event in enumerate(events)],
    )


@given(logs(100))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
def test_equals_the_reference_on_short_logs(computed, log) -> None:
    pages, events = numbered(log)
    assert_agree(computed(pages, events), brute_force(pages, events))


@given(logs(3 * 365 * 24))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
def test_equals_the_reference_on_logs_of_years(computed, log) -> None:
    pages, events = numbered(log)
    assert_agree(computed(pages, events), brute_force(pages, events))


def test_across_the_edge_of_a_stretch(computed) -> None:
    """With a half-life of one hour a stretch is 500 hours: events just before its end count just after it."""
    edge = (T0 // (STRETCH * HOUR) + 1) * STRETCH * HOUR
    times = [edge - 600 * HOUR, edge - 90 * HOUR, edge - 2 * HOUR, edge - 1, edge, edge + 1, edge + 20 * HOUR]
    pages = [{"page": n, "user": 0, "category": 1, "us": us} for n, us in enumerate([*times, edge + 400 * HOUR])]
    events = [
        {"user": 0, "us": us, "seq": n, "kind": "click", "family": 0, "category": 1} for n, us in enumerate(times)
    ]
    assert_agree(computed(pages, events), brute_force(pages, events))


def test_many_events_do_not_overflow(computed) -> None:
    events = [
        {"user": 0, "us": T0 + n * HOUR // 2, "seq": n, "kind": "click", "family": n % 2, "category": n % 3}
        for n in range(3_000)
    ]
    pages = [{"page": n, "user": 0, "category": n % 3, "us": T0 + n * 40 * HOUR} for n in range(40)]
    assert_agree(computed(pages, events), brute_force(pages, events))


def test_the_page_does_not_know_its_own_time_or_what_comes_after(computed) -> None:
    pages = [{"page": 0, "user": 0, "category": 0, "us": T0}]
    before = [{"user": 0, "us": T0 - 1, "seq": 0, "kind": "click", "family": 0, "category": 0}]
    planted = [
        {"user": 0, "us": T0 + later, "seq": 1 + n, "kind": kind, "family": 1, "category": 0}
        for n, (later, kind) in enumerate([(0, "click"), (0, "cart"), (1, "purchase"), (5_000_000, "click")])
    ]
    assert computed(pages, before) == computed(pages, before + planted)


def test_no_events(computed) -> None:
    pages = [{"page": 0, "user": 0, "category": 0, "us": T0}, {"page": 1, "user": None, "category": None, "us": T0}]
    assert_agree(computed(pages, []), brute_force(pages, []))
