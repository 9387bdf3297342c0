"""What happened on served pages: rows of the contract's `events` table, for the users' store.

A row that breaks the contract goes to the table `quarantine` of a file with the reason; nothing is dropped. Whether a
module or a page is known is for the stage `check` to say, which has all tables: an endpoint that runs an older model
must not turn away clicks on newer modules.
"""

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from pageopt.engine.requests import refuse, shorten
from pageopt.errors import RequestError, StoreError
from pageopt.features.store.base import EventRow, UserStore
from pageopt.problems.item import Id, Price, Text

MAX_EVENTS = 1000
MAX_EVENTS_BYTES = 1024 * 1024
_EARLIEST = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)
_AHEAD_SECONDS = 24 * 3600
_MAX_ROW = 4096

Time = Annotated[datetime, msgspec.Meta(tz=True)]
Slot = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class Event(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One row; `ts` is RFC 3339 with its offset, or whole microseconds since 1970 in UTC."""

    event_id: Id
    ts: Time | int
    kind: Literal["click", "watch", "cart", "purchase"]
    user_id: Text | None = None
    page_id: Text | None = None
    module_id: Text | None = None
    slot: Slot | None = None
    item_id: Text | None = None
    price: Price | None = None


class RecordEvents(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of POST /record_events. Each row is judged by itself; until then it stays text."""

    events: list[msgspec.Raw]


class Quarantined(msgspec.Struct, frozen=True):
    """A row that breaks the contract; `event_id` is null where it could not be read."""

    event_id: str | None
    why: str


class Receipt(msgspec.Struct, frozen=True):
    """The body of the answer of /record_events."""

    accepted: int
    duplicates: int
    quarantined: list[Quarantined]

    def counts(self) -> dict[str, int]:
        """Rows by outcome."""
        return {"accepted": self.accepted, "duplicate": self.duplicates, "quarantined": len(self.quarantined)}


@dataclass(frozen=True)
class Batch:
    """Rows of one request: for the store, and for the table `quarantine`; `received` in µs since 1970."""

    received: int
    rows: list[EventRow] = field(default_factory=list)
    quarantined: list[tuple[Quarantined, str]] = field(default_factory=list)


_EXPECTED = {"": 'a JSON object such as {"events": [...]}', "events": "a list of events, each an object"}
_KNOWN = {"": RecordEvents.__struct_fields__}
_BODY = msgspec.json.Decoder(RecordEvents)
_EVENT = msgspec.json.Decoder(Event)
_PATH = re.compile(r" - at `\$\.?(.*)`$", re.S)


def parse_events(body: bytes, now: float) -> Batch:
    """Judge every row of a body of /record_events, at `now` in seconds since 1970. Raises RequestError for the body."""
    try:
        raws = _BODY.decode(body).events
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        refuse(body, error, _EXPECTED, frozenset({"", "events"}), _KNOWN)
    if len(raws) > MAX_EVENTS:
        raise RequestError(
            f"events holds {len(raws)} rows, more than {MAX_EVENTS}.",
            field="events",
            fix=f"Send at most {MAX_EVENTS} in one request.",
        )
    batch = Batch(int(now * 1_000_000))
    for raw in raws:
        row = bytes(raw)
        try:
            event = _EVENT.decode(row)
            ts = _microseconds(event.ts, batch.received)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, _BadTimeError) as error:
            text = row[:_MAX_ROW].decode("utf-8", "replace")
            batch.quarantined.append((Quarantined(_event_id(row), _why(error)), text))
            continue
        batch.rows.append(
            EventRow(
                event.event_id,
                ts,
                event.user_id,
                event.kind,
                event.page_id,
                event.module_id,
                event.slot,
                event.item_id,
                event.price,
                batch.received,
            )
        )
    return batch


class _BadTimeError(ValueError):
    """A time that no event can have."""


def _microseconds(ts: datetime | int, now: int) -> int:
    value = ts if isinstance(ts, int) else round(ts.timestamp() * 1_000_000)
    if value < _EARLIEST:
        raise _BadTimeError("ts is before the year 2000; whole numbers are microseconds since 1970")
    if value > now + _AHEAD_SECONDS * 1_000_000:
        raise _BadTimeError("ts is more than a day ahead; whole numbers are microseconds since 1970")
    return value


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    text = str(error)
    match = _PATH.search(text)
    what = (text[: match.start()] if match else text).replace("`", "")
    what = what[0].lower() + what[1:]
    return shorten(f"{match[1]}: {what}" if match and match[1] else what, 200)


def _event_id(row: bytes) -> str | None:
    try:
        content = msgspec.json.decode(row)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    value = content.get("event_id") if isinstance(content, dict) else None
    return shorten(value) if isinstance(value, str) else None


_SCHEMA = """
CREATE TABLE IF NOT EXISTS quarantine (received INTEGER NOT NULL, event_id TEXT, why TEXT NOT NULL, row TEXT NOT NULL)
"""


class EventLog:
    """Takes batches: good rows to `store`, the others to a table of the SQLite file `path`."""

    def __init__(self, store: UserStore, path: Path) -> None:
        self._store = store
        self._path = Path(path)

    def add(self, batch: Batch) -> Receipt:
        """Keep a batch, known event ids left out. Raises StoreError if some of it was not kept: then add it again."""
        accepted = self._store.fold(batch.rows)
        if batch.quarantined:
            rows = [(batch.received, entry.event_id, entry.why, row) for entry, row in batch.quarantined]
            try:
                with closing(sqlite3.connect(self._path, timeout=5.0)) as db, db:
                    db.execute(_SCHEMA)
                    db.executemany("INSERT INTO quarantine VALUES (?,?,?,?)", rows)
            except sqlite3.Error as error:
                raise StoreError(f"{self._path} cannot be written: {error}. Check the disk and its rights.") from error
        return Receipt(accepted, len(batch.rows) - accepted, [entry for entry, _ in batch.quarantined])
