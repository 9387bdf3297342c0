import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pageopt.features.batch.labels import label, resolve

HOUR = 3_600_000_000
WINDOW = 48
INTS = ("seq", "us", "page", "module", "slot")
EVENTS = pa.schema(
    [*((name, pa.int64()) for name in INTS), *((n, pa.string()) for n in ("visitor", "kind", "item_id"))]
)
SHOWN = pa.schema([(name, pa.int64()) for name in ("page", "slot", "module")])


def brute_force(events, shown):
    """The rules of labels.py as loops: {seq: (page, slot)}."""
    found = {}
    for event in events:
        slots = [s["slot"] for s in shown if (s["page"], s["module"]) == (event["page"], event["module"])]
        if slots:
            found[event["seq"]] = (event["page"], event["slot"] if event["slot"] in slots else min(slots))
    direct = dict(found)
    for event in events:
        if event["seq"] in direct or event["kind"] == "click" or None in (event["visitor"], event["item_id"]):
            continue
        clicks = [
            e
            for e in events
            if e["kind"] == "click"
            and e["seq"] in direct
            and e["seq"] < event["seq"]
            and (e["visitor"], e["item_id"]) == (event["visitor"], event["item_id"])
        ]
        if clicks and event["us"] - clicks[-1]["us"] <= WINDOW * HOUR:
            found[event["seq"]] = direct[clicks[-1]["seq"]]
    return found


@pytest.fixture(scope="module")
def resolved():
    connection = ibis.duckdb.connect()
    events = connection.create_table("events", schema=ibis.Schema.from_pyarrow(EVENTS))
    shown = connection.create_table("shown", schema=ibis.Schema.from_pyarrow(SHOWN))
    query = ibis.to_sql(resolve(events, shown, WINDOW))

    def run(event_rows, shown_rows):
        for name, rows, schema in (("events", event_rows, EVENTS), ("shown", shown_rows, SHOWN)):
            connection.truncate_table(name)
            connection.insert(name, ibis.memtable(pa.Table.from_pylist(rows, schema)))
        rows = connection.raw_sql(query).to_arrow_table().to_pylist()
        modules = {(row["page"], row["slot"]): row["module"] for row in shown_rows}
        assert all(row["module"] == modules[row["page"], row["slot"]] for row in rows)
        assert len({row["seq"] for row in rows}) == len(rows)
        return {row["seq"]: (row["page"], row["slot"]) for row in rows}

    yield run
    connection.disconnect()


SHOWN_ROWS = st.dictionaries(st.tuples(st.integers(0, 3), st.integers(1, 3)), st.integers(0, 2), max_size=10).map(
    lambda cells: [{"page": page, "slot": slot, "module": module} for (page, slot), module in cells.items()]
)
EVENT_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "us": st.integers(0, 12).map(lambda n: n * 8 * HOUR),
            "kind": st.sampled_from(["click", "click", "cart", "watch", "purchase"]),
            "page": st.none() | st.integers(0, 4),
            "module": st.none() | st.integers(0, 2),
            "slot": st.none() | st.integers(1, 3),
            "visitor": st.sampled_from(["u", "v", None]),
            "item_id": st.sampled_from(["a", "b", None]),
        }
    ),
    max_size=20,
).map(lambda rows: [{**row, "seq": seq} for seq, row in enumerate(sorted(rows, key=lambda row: row["us"]))])


@given(EVENT_ROWS, SHOWN_ROWS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_equals_brute_force(resolved, events, shown) -> None:
    assert resolved(events, shown) == brute_force(events, shown)


def test_a_purchase_on_another_page_goes_to_the_last_click_in_time(resolved) -> None:
    shown = [{"page": page, "slot": 1, "module": 0} for page in range(3)]
    nothing = {"page": None, "module": None, "slot": None}
    click = {"kind": "click", "module": 0, "slot": 1, "visitor": "u", "item_id": "a"}
    events = [
        {**click, "seq": 0, "us": 0, "page": 0},
        {**click, "seq": 1, "us": HOUR, "page": 1},
        {**click, **nothing, "seq": 2, "us": 49 * HOUR, "kind": "purchase"},
        {**click, **nothing, "seq": 3, "us": 49 * HOUR + 1, "kind": "purchase"},
        {**click, "seq": 4, "us": 50 * HOUR, "page": 2},
    ]
    assert resolved(events, shown) == {0: (0, 1), 1: (1, 1), 2: (1, 1), 4: (2, 1)}


def test_labels_of_an_impression() -> None:
    rows = [
        ("a", 0, 1, "click"),
        ("b", 0, 1, "click"),
        ("c", 0, 1, "purchase"),
        ("d", 0, 2, "watch"),
        ("e", 5, 1, "cart"),
        ("f", 6, 1, "click"),
    ]
    events = ibis.memtable(
        pa.table(dict(zip(("event_id", "page", "slot", "kind"), zip(*rows, strict=True), strict=True)))
    )
    weights = ibis.memtable(pa.table({"event_id": ["a", "b"], "weight": [0.25, 0.5]}))
    found = {
        (row["page"], row["slot"]): tuple(row[name] for name in ("click", "intent", "purchase", "attributed"))
        for row in label(events, weights).to_pyarrow().to_pylist()
    }
    assert found == {(0, 1): (1, 0, 1, 0.5), (0, 2): (0, 1, 0, 0), (5, 1): (0, 1, 0, 0), (6, 1): (1, 0, 0, 0)}
