"""What happened on served pages: rows of the contract's `events` table, kept in SQLite until the next collect.

A row that breaks the contract goes to the table `quarantine` with the reason; nothing is dropped. Whether a module or a
page is known is for the stage `check` to say, which has all tables: an endpoint that runs an older model must not turn
away clicks on newer modules.
"""

import re
import sqlite3
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from pageopt.engine.requests import refuse, shorten
from pageopt.errors import RequestError, StoreError
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
    """Rows of one request: for the table `events`, and for the table `quarantine`; `received` in µs since 1970."""

    received: int
    rows: list[tuple[Any, ...]] = field(default_factory=list)
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
            (
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
CREATE TABLE IF NOT EXISTS events (
    event_id TEXT PRIMARY KEY, ts INTEGER NOT NULL, user_id TEXT, kind TEXT NOT NULL, page_id TEXT, module_id TEXT,
    slot INTEGER, item_id TEXT, price REAL, received INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS quarantine (received INTEGER NOT NULL, event_id TEXT, why TEXT NOT NULL, row TEXT NOT NULL);
"""


class EventStore:
    """Events in one SQLite file that all workers of the endpoint append to.

    The file and its folder are made at the first write, so that an endpoint without a disk still ranks pages; after an
    error the next write opens the file again.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def add(self, batch: Batch) -> Receipt:
        """Store a batch in one transaction, known event ids left out. Raises StoreError if nothing was stored."""
        with self._lock:
            try:
                accepted = self._write(self._db or self._open(), batch)
            except (sqlite3.Error, OSError) as error:
                self._close()
                raise StoreError(f"{self.path} cannot be written: {error}. Check the disk and its rights.") from error
        return Receipt(accepted, len(batch.rows) - accepted, [entry for entry, _ in batch.quarantined])

    def close(self) -> None:
        """Let go of the file; a later `add` opens it again."""
        with self._lock:
            self._close()

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Whichever thread writes holds the lock.
        self._db = sqlite3.connect(self.path, timeout=5.0, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        return self._db

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    @staticmethod
    def _write(db: sqlite3.Connection, batch: Batch) -> int:
        with db:
            before = db.total_changes
            db.executemany("INSERT OR IGNORE INTO events VALUES (?,?,?,?,?,?,?,?,?,?)", batch.rows)
            accepted = db.total_changes - before
            db.executemany(
                "INSERT INTO quarantine VALUES (?,?,?,?)",
                [(batch.received, entry.event_id, entry.why, row) for entry, row in batch.quarantined],
            )
        return accepted
