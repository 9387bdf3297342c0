from pathlib import Path

import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pageopt import config
from pageopt.config import PrepareParams
from pageopt.features.batch.labels import label, labels_of, resolve
from pageopt.features.batch.logs import read_logs
from pageopt.features.batch.traffic import uncredited
from pageopt.problems.item import ITEM
from pageopt.tables.database import database

MINUTE = 60_000_000
HOUR = 60 * MINUTE
WINDOW = 48
PARAMS = config.load(Path(__file__).parents[3] / "params.yaml", PrepareParams)
GAP = PARAMS.session_gap_minutes * MINUTE
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
        ("g", 7, 1, "click"),
        ("h", 7, 1, "click"),
        ("i", 8, 1, "purchase"),
    ]
    events = ibis.memtable(
        pa.table(dict(zip(("event_id", "page", "slot", "kind"), zip(*rows, strict=True), strict=True)))
    )
    weights = ibis.memtable(pa.table({"event_id": ["a", "b", "g", "h"], "weight": [0.25, 0.5, 0.5, 0.25]}))
    found = {
        (row["page"], row["slot"]): tuple(row[name] for name in ("click", "intent", "purchase", "attributed"))
        for row in label(events, weights).to_pyarrow().to_pylist()
    }
    assert found == {
        (0, 1): (1, 0, 1, 1),
        (0, 2): (0, 1, 0, 0),
        (5, 1): (0, 1, 0, 0),
        (6, 1): (1, 0, 0, 0),
        (7, 1): (1, 0, 0, 0.5),
        (8, 1): (0, 0, 1, 0),
    }


TRACED = pa.schema(
    [EVENTS.field(n) for n in ("seq", "us", "visitor", "kind", "page", "slot")] + [("event_id", pa.string())]
)
DONE = st.lists(
    st.fixed_dictionaries(
        {
            # Gaps below, at and above that of a session; ties.
            "us": st.builds(lambda n, u: n * 10 * MINUTE + u, st.integers(0, 30), st.integers(0, 1)),
            "kind": st.sampled_from(["click", "click", "cart", "purchase"]),
            "cell": st.none() | st.tuples(st.integers(0, 2), st.integers(1, 2)),
            "visitor": st.sampled_from(["u", "v", None]),
        }
    ),
    max_size=20,
).map(
    lambda rows: [
        row | {"seq": seq, "event_id": f"e{seq:02}"} for seq, row in enumerate(sorted(rows, key=lambda row: row["us"]))
    ]
)


def credit(events, cell) -> float:
    """The attributed label of an impression as loops: 1 where it was bought from, else by time within the session."""
    kinds = {event["kind"] for event in events if event["cell"] == cell}
    if {"click", "purchase"} <= kinds:
        return 1.0
    most = 0.0
    for click in (event for event in events if event["kind"] == "click" and event["cell"] == cell and event["visitor"]):
        before = click["us"]
        for event in events[click["seq"] + 1 :]:
            if event["visitor"] != click["visitor"]:
                continue
            if event["us"] - before > GAP:
                break
            before = event["us"]
            if event["kind"] == "purchase":
                wait = (event["us"] - click["us"]) / (PARAMS.attribution.scale * GAP)
                most = max(most, PARAMS.attribution.decay**wait)
    return most


@pytest.fixture(scope="module")
def labelled():
    connection = ibis.duckdb.connect()
    events = connection.create_table("events", schema=ibis.Schema.from_pyarrow(TRACED))
    query = ibis.to_sql(labels_of(events, PARAMS))

    def run(rows):
        connection.truncate_table("events")
        named = [row | dict(zip(("page", "slot"), row["cell"] or (None, None), strict=True)) for row in rows]
        connection.insert("events", ibis.memtable(pa.Table.from_pylist(named, TRACED)))
        return {(row["page"], row["slot"]): row for row in connection.raw_sql(query).to_arrow_table().to_pylist()}

    yield run
    connection.disconnect()


@given(DONE)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_what_was_bought_is_credited_in_full_and_other_clicks_by_their_session(labelled, events) -> None:
    labels = labelled(events)
    assert labels.keys() == {event["cell"] for event in events} - {None}
    for cell, row in labels.items():
        assert row["attributed"] == pytest.approx(credit(events, cell), rel=1e-6, abs=0), cell
        assert row["click"] >= row["attributed"] >= row["click"] * row["purchase"]


def test_a_purchase_five_hours_later_credits_its_own_click_and_by_time_the_one_just_before_it(
    random_logs, tmp_path
) -> None:
    logs = random_logs(pages=100)
    pages, noon = logs.rows["pages"], logs.rows["pages"][0]["ts"]
    for page in pages[:4]:
        page |= {"ts": noon, "user_id": "u00"}
    first = {i["page_id"]: i for i in logs.rows["impressions"] if i["slot"] == 1}
    nowhere = {"page_id": None, "module_id": None, "slot": None}

    def event(kind, hours, item, page=None):
        at = {"kind": kind, "ts": noon + round(hours * HOUR), "user_id": "u00", "item_id": item, "price": None}
        return at | (nowhere if page is None else {name: first[pages[page]["page_id"]][name] for name in nowhere})

    logs.rows["events"] = [
        event("click", 0, "i01", 0),
        event("click", 0, "i03", 2),
        event("click", 5 - 1 / 6, "i02", 1),
        event("purchase", 5, "i01"),  # five hours after its click
        event("purchase", 49, "i03"),  # later than a purchase can be traced
        event("purchase", 60, "i04", 3),  # of a module that nobody clicked
    ]
    for number, row in enumerate(logs.rows["events"]):
        row["event_id"] = f"e{number}"
    with database(tmp_path / "scratch", "512MB", 1) as connection:
        read = read_logs(connection, ITEM, logs.write(tmp_path / "checked"), logs.features, WINDOW)
        labels = labels_of(read.events, PARAMS)
        named = labels.join(read.pages, "page").select("page_id", "purchase", "attributed").to_pyarrow().to_pylist()
        shares = uncredited(read.events, labels)
    found = {row["page_id"]: (row["purchase"], row["attributed"]) for row in named}
    ten_minutes = PARAMS.attribution.decay ** (10 / (PARAMS.attribution.scale * PARAMS.session_gap_minutes))
    expected = ((1, 1), (0, ten_minutes), (0, 0), (1, 0))
    for page, values in zip(pages[:4], expected, strict=True):
        assert found[page["page_id"]] == pytest.approx(values), page["page_id"]
    assert shares == pytest.approx({"zero_label": 1 / 3, "untraced": 1 / 3})
