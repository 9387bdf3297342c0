"""Users' events and pages since the snapshot, in one SQLite file that all workers of a machine write and read."""

import json
import logging
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pageopt.errors import StoreError
from pageopt.features.store.base import EventRow, PageRow
from pageopt.features.store.snapshot import UserSnapshot

# Of one user that a page waits for, the latest: a robot's must not take a visitor's time.
MAX_EVENTS, MAX_PAGES = 1000, 100
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    event_id TEXT PRIMARY KEY, ts INTEGER NOT NULL, user_id TEXT, kind TEXT NOT NULL, page_id TEXT, module_id TEXT,
    slot INTEGER, item_id TEXT, price REAL, received INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_user ON events (user_id, ts);
CREATE TABLE IF NOT EXISTS pages (
    page_id TEXT PRIMARY KEY, ts INTEGER NOT NULL, user_id TEXT, item_id TEXT NOT NULL, module_ids TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS pages_of_user ON pages (user_id, ts);
"""


def _add(table: str, row: type[EventRow] | type[PageRow]) -> str:
    return f"INSERT OR IGNORE INTO {table} VALUES ({','.join('?' * len(row._fields))})"


def _read(table: str, row: type[EventRow] | type[PageRow], most: int) -> str:
    """Rows of a user from a time until another, the latest first."""
    return (
        f"SELECT {','.join(row._fields)} FROM {table} WHERE user_id = ? AND ts >= ? AND ts < ? "
        f"ORDER BY ts DESC, {row._fields[0]} DESC LIMIT {most}"
    )


_ADD_EVENT, _ADD_PAGE = _add("events", EventRow), _add("pages", PageRow)
_READ_EVENTS, _READ_PAGES = _read("events", EventRow, MAX_EVENTS), _read("pages", PageRow, MAX_PAGES)
_log = logging.getLogger(__name__)


class SqliteUserStore:
    """A `UserStore` of the users in `snapshot`, and the events and shown pages in the file `path`.

    Both are kept as they came and counted when their user is read, from the snapshot's time on. So workers of two
    models share a file, each beside its own snapshot; a newer one, which has the earlier events in it, starts clean;
    and a rollback counts them again. Rows stay until somebody takes them for the logs.

    The file and its folder are made at the first write, so that an endpoint without a disk still ranks pages; after an
    error the file is opened again. Where it cannot be read, features are those of the snapshot, and the log says so.
    Safe from several threads and processes: the file is in WAL mode, so that nobody who reads waits for who writes.
    """

    def __init__(self, path: Path, snapshot: UserSnapshot) -> None:
        self.path = Path(path)
        self._snapshot = snapshot
        self._reader, self._writer = _Link(self.path), _Link(self.path)

    def features(self, user_id: str | None, category: str | None, at_us: int) -> dict[str, Any]:
        """As `UserStore.features`."""
        return self._snapshot.features(user_id, category, at_us, *self._since(user_id, at_us))

    def _since(self, user_id: str | None, at_us: int) -> tuple[list[EventRow], list[PageRow]]:
        """The events and pages that count as of a time."""
        snapshot = self._snapshot
        if user_id is None or at_us <= snapshot.reference_us or not self.path.exists():
            return [], []
        try:
            with self._reader as db:
                span = (user_id, snapshot.reference_us, at_us)
                events, pages = (db.execute(read, span).fetchall() for read in (_READ_EVENTS, _READ_PAGES))
        except (sqlite3.Error, OSError) as error:
            _log.error("%s cannot be read, a page is without its user's latest events: %s", self.path, error)
            return [], []
        return (
            [EventRow(*row) for row in events],
            [PageRow(*row)._replace(module_ids=tuple(json.loads(row[-1]))) for row in pages],
        )

    def fold(self, events: Iterable[EventRow]) -> int:
        """As `UserStore.fold`, in one transaction."""
        return self._keep(_ADD_EVENT, events)

    def see(self, pages: Iterable[PageRow]) -> int:
        """As `UserStore.see`, in one transaction; pages of nobody are not kept."""
        known = (page for page in pages if page.user_id is not None)
        return self._keep(_ADD_PAGE, ((*page[:-1], json.dumps(page.module_ids)) for page in known))

    def _keep(self, statement: str, rows: Iterable[tuple]) -> int:
        """How many rows were new."""
        try:
            with self._writer as db, db:
                before = db.total_changes
                db.executemany(statement, rows)
                return db.total_changes - before
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self.path} cannot be written: {error}. Check the disk and its rights.") from error


class _Link:
    """One connection, opened when it is needed and again after an error; whichever thread has it keeps others out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def __enter__(self) -> sqlite3.Connection:
        self._lock.acquire()
        try:
            self._db = self._db or self._open()
        except BaseException:
            self._lock.release()
            raise
        return self._db

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None and self._db is not None:
            self._db.close()
            self._db = None
        self._lock.release()

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, timeout=5.0, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.executescript(_SCHEMA)
        return db
