from datetime import UTC, datetime, timedelta

import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pageopt.errors import ConfigError
from pageopt.features.sessions import attribute
from pageopt.tables.time import microseconds

MINUTE = 60_000_000
T0 = 1_700_000_000_000_000
SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("ts", pa.timestamp("us", tz="UTC")),
        ("user_id", pa.string()),
        ("kind", pa.string()),
    ]
)


def brute_force(rows, gap_minutes, decay, scale):
    """The words of the module as loops: {event_id: (session, weight)}."""
    clicks = {}
    for user in {row["user_id"] for row in rows}:
        mine = sorted((r for r in rows if r["user_id"] == user), key=lambda r: (r["us"], r["event_id"]))
        sessions, last = [], None
        for row in mine:
            if last is None or user is None or row["us"] - last > gap_minutes * MINUTE:
                sessions.append([])
            sessions[-1].append(row)
            last = row["us"]
        for number, session in enumerate(sessions):
            for place, row in enumerate(session):
                if row["kind"] != "click":
                    continue
                waits = [r["us"] - row["us"] for r in session[place + 1 :] if r["kind"] == "purchase"]
                weights = [decay ** (wait / (scale * gap_minutes * MINUTE)) for wait in waits]
                clicks[row["event_id"]] = ((user, number), max(weights, default=0.0))
    return clicks


def table(rows) -> pa.Table:
    return pa.Table.from_pylist(
        [{**row, "ts": datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row["us"])} for row in rows], SCHEMA
    )


def attributed(rows, *args):
    result = attribute(ibis.memtable(table(rows)), *args)
    assert result.columns == ("event_id", "session_id", "weight")
    return {r["event_id"]: (r["session_id"], r["weight"]) for r in result.to_pyarrow().to_pylist()}


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["u", "v", "u#0", None]),
            "kind": st.sampled_from(["click", "click", "purchase", "cart", "watch"]),
            # Whole minutes make ties and gaps of exactly T; single microseconds make gaps just above it.
            "us": st.builds(lambda m, u: T0 + m * MINUTE + u, st.integers(0, 200), st.integers(0, 1)),
        }
    ),
    max_size=25,
).map(lambda rows: [{**row, "event_id": f"e{index * 7 % 25:02}"} for index, row in enumerate(rows)])


@given(ROWS, st.sampled_from([(30, 0.5, 2.0), (10, 0.9, 1.0), (7.5, 0.1, 0.3)]))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_equals_brute_force(rows, params) -> None:
    expected = brute_force(rows, *params)
    found = attributed(rows, *params) if rows else {}
    assert found.keys() == expected.keys()
    for event_id, (_, weight) in expected.items():
        assert found[event_id][1] == pytest.approx(weight, rel=1e-9, abs=0)
        assert 0 <= found[event_id][1] <= 1
    ids = list(expected)
    # Names of sessions are ours to choose; which clicks share one is not. Nobody's events never do.
    for one in ids:
        for other in ids:
            together = one == other or (expected[one][0] == expected[other][0] and expected[one][0][0] is not None)
            assert (found[one][0] == found[other][0]) == together


def test_a_gap_of_exactly_t_does_not_end_a_session() -> None:
    def rows(us):
        return [
            {"event_id": "a", "user_id": "u", "kind": "click", "us": T0},
            {"event_id": "b", "user_id": "u", "kind": "purchase", "us": T0 + us},
        ]

    assert attributed(rows(30 * MINUTE), 30, 0.5, 1.0)["a"][1] == 0.5
    assert attributed(rows(30 * MINUTE + 1), 30, 0.5, 1.0)["a"][1] == 0


def test_ties_follow_event_id() -> None:
    rows = [
        {"event_id": "b", "user_id": "u", "kind": "purchase", "us": T0},
        {"event_id": "a", "user_id": "u", "kind": "click", "us": T0},
        {"event_id": "c", "user_id": "u", "kind": "click", "us": T0},
    ]
    found = attributed(rows, 30, 0.5, 1.0)
    assert (found["a"][1], found["c"][1]) == (1, 0)


def test_no_events() -> None:
    assert attributed([], 30, 0.5, 2.0) == {}


@pytest.mark.parametrize("params", [(0, 0.5, 1.0), (30, 1.0, 1.0), (30, 0.5, 0.0)])
def test_bad_params(params) -> None:
    with pytest.raises(ConfigError, match="Attribution needs"):
        attributed([], *params)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
@pytest.mark.parametrize("tz", ["UTC", None])
def test_microseconds_are_exact(zone, tz) -> None:
    values = [T0 + 123_456, T0 + 59_999_999, -1, 0, 4_102_444_800_999_999, 1_711_846_800_000_001]
    connection = ibis.duckdb.connect()
    connection.raw_sql(f"SET TimeZone = '{zone}'")
    arrow = pa.table({"ts": pa.array(values, pa.timestamp("us", tz=tz))})
    events = connection.create_table("e", ibis.memtable(arrow))
    assert events.select(us=microseconds(events.ts)).to_pyarrow()["us"].to_pylist() == values
    connection.disconnect()
