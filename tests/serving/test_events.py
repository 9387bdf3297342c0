import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pageopt.errors import RequestError, StoreError
from pageopt.serving.events import EventLog, parse_events

NOW = 1_760_000_000.0
Post = Callable[[str, Any], Any]
NewLog = Callable[[], EventLog]


def event(**changes: Any) -> dict[str, Any]:
    row = {
        "event_id": "e1",
        "ts": "2025-10-01T10:00:00.000001+02:00",
        "user_id": "u1",
        "kind": "purchase",
        "page_id": "p1",
        "module_id": "m1",
        "slot": 2,
        "item_id": "i1",
        "price": 9.5,
    }
    row.update(changes)
    return {name: value for name, value in row.items() if value is not ...}


def body(*rows: Any) -> bytes:
    return json.dumps({"events": rows}).encode()


def stored(path: Path, table: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()


def test_a_row_is_stored_as_the_contract_has_it(event_log: NewLog, events_file: Path) -> None:
    receipt = event_log().add(parse_events(body(event()), NOW))
    assert (receipt.accepted, receipt.duplicates, receipt.quarantined) == (1, 0, [])
    assert stored(events_file, "events") == [
        ("e1", 1_759_305_600_000_001, "u1", "purchase", "p1", "m1", 2, "i1", 9.5, 1_760_000_000_000_000)
    ]


def test_times_as_text_in_utc_and_as_microseconds_are_the_same(event_log: NewLog, events_file: Path) -> None:
    rows = [event(event_id="a", ts="2025-10-01T08:00:00Z"), event(event_id="b", ts=1_759_305_600_000_000)]
    event_log().add(parse_events(body(*rows), NOW))
    assert len({row[1] for row in stored(events_file, "events")}) == 1


def test_only_id_time_and_kind_are_needed(event_log: NewLog) -> None:
    batch = parse_events(body({"event_id": "e", "ts": 1_759_305_600_000_000, "kind": "click"}), NOW)
    assert event_log().add(batch).accepted == 1


def test_known_event_ids_are_duplicates_in_a_batch_and_across(event_log: NewLog, events_file: Path) -> None:
    store = event_log()
    first = store.add(parse_events(body(event(), event(kind="cart"), event(event_id="e2")), NOW))
    assert (first.accepted, first.duplicates) == (2, 1)
    again = event_log().add(parse_events(body(event(event_id="e2"), event(event_id="e3")), NOW))
    assert (again.accepted, again.duplicates) == (1, 1)
    assert [row[3] for row in stored(events_file, "events")] == ["purchase"] * 3


@pytest.mark.parametrize(
    ("row", "event_id", "why"),
    [
        (event(event_id=...), None, "event_id"),
        (event(event_id=7), None, "event_id"),
        (event(event_id=""), "", "event_id"),
        (event(kind="view"), "e1", "kind"),
        (event(kind=...), "e1", "kind"),
        (event(ts="yesterday"), "e1", "ts"),
        (event(ts="2025-10-01T10:00:00"), "e1", "ts"),
        (event(ts=1_759_305_600), "e1", "microseconds"),
        (event(ts=NOW * 1e6), "e1", "ts"),
        (event(ts=int((NOW + 2 * 86400) * 1e6)), "e1", "ahead"),
        (event(slot=0), "e1", "slot"),
        (event(slot=1.5), "e1", "slot"),
        (event(price=-1), "e1", "price"),
        (event(price="9"), "e1", "price"),
        (event(user_id="x" * 513), "e1", "user_id"),
        (event(oops=1), "e1", "oops"),
        ("e1", None, "object"),
        (None, None, "object"),
    ],
)
def test_a_row_that_breaks_the_contract_goes_to_quarantine(
    event_log: NewLog, events_file: Path, row: Any, event_id: str | None, why: str
) -> None:
    receipt = event_log().add(parse_events(body(row, event(event_id="good")), NOW))
    assert receipt.accepted == 1
    assert [entry.event_id for entry in receipt.quarantined] == [event_id]
    assert why in receipt.quarantined[0].why
    [(_, stored_id, stored_why, text)] = stored(events_file, "quarantine")
    assert (stored_id, stored_why, json.loads(text)) == (event_id, receipt.quarantined[0].why, row)


def test_bytes_that_are_not_utf8_are_quarantined_alone(event_log: NewLog) -> None:
    raw = body(event(), event(event_id="e2", item_id="?")).replace(b'"?"', b'"\xff"')
    receipt = event_log().add(parse_events(raw, NOW))
    assert (receipt.accepted, [entry.why for entry in receipt.quarantined]) == (1, ["not UTF-8"])


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"{}", "events"),
        (b'{"events":{}}', "events"),
        (b'{"events":[],"x":1}', "x"),
        (b'{"events":[{"price":NaN}]}', "events[0].price"),
        (body(*[event()] * 1001), "events"),
        (b"[", ""),
    ],
)
def test_a_body_that_is_no_batch_is_refused(content: bytes, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_events(content, NOW)
    assert (caught.value.field, caught.value.status) == (field, 400)


def test_over_http(post: Post) -> None:
    response = post("/record_events", {"events": [event(), event(), event(event_id="e2", kind="view")]})
    assert response.status == 200
    assert (response.json["accepted"], response.json["duplicates"]) == (1, 1)
    assert [entry["event_id"] for entry in response.json["quarantined"]] == ["e2"]


def test_an_empty_batch(post: Post) -> None:
    assert post("/record_events", {"events": []}).json == {"accepted": 0, "duplicates": 0, "quarantined": []}


def test_a_disk_that_cannot_be_written_is_said_and_healed(post: Post, events_file: Path) -> None:
    events_file.parent.write_text("a file where the folder should be")
    response = post("/record_events", {"events": [event()]})
    assert response.status == 503
    assert str(events_file) not in response.text
    events_file.parent.unlink()
    assert post("/record_events", {"events": [event()]}).json["accepted"] == 1


def test_a_file_that_is_no_database(event_log: NewLog, events_file: Path) -> None:
    events_file.parent.mkdir()
    events_file.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"events\.sqlite"):
        event_log().add(parse_events(body(event()), NOW))


def test_workers_write_side_by_side(event_log: NewLog, events_file: Path) -> None:
    stores = [event_log() for _ in range(4)]
    receipts = []

    def write(store: EventLog) -> None:
        for i in range(10):
            receipts.append(store.add(parse_events(body(*[event(event_id=f"e{i}-{j}") for j in range(5)]), NOW)))

    threads = [threading.Thread(target=write, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(receipt.accepted for receipt in receipts) == 50
    assert sum(receipt.duplicates for receipt in receipts) == 150
    assert len(stored(events_file, "events")) == 50
