"""Counters and features of every user in one SQLite file, read at serving.

Written by stage prepare as of the end of the log, with what it takes to count the events since: the modules' families
and the items' categories. Reading needs sqlite3 and NumPy only, opens the file read-only, and is safe from several
threads.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pageopt.errors import ContractError
from pageopt.features.counters import CounterGroup, CounterLayout, Keys, UserState, page_counters
from pageopt.features.store.base import EventRow, PageRow
from pageopt.features.store.folding import Known

_FORMAT = 3
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE users (user_id TEXT PRIMARY KEY, state BLOB, declared TEXT) WITHOUT ROWID;
CREATE TABLE modules (module_id TEXT PRIMARY KEY, keys TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (item_id TEXT PRIMARY KEY, keys TEXT NOT NULL) WITHOUT ROWID;
"""
# One statement for any number of items.
_ITEMS = "SELECT item_id, keys FROM items WHERE item_id IN (SELECT value FROM json_each(?))"
_NOTHING = Known({}, {})


@dataclass(frozen=True)
class UserRow:
    """One user to write: counters as of the snapshot's reference time, and declared columns of the users table."""

    user_id: str
    state: UserState | None
    declared: Mapping[str, Any] | None = None


def _keyed(layout: CounterLayout) -> list[CounterGroup]:
    """The groups that have keys, in the order of the file."""
    return [group for group in reversed(layout.groups) if group.by]


def pack(state: UserState) -> bytes:
    """A state as bytes, little-endian: how many keys of each group are not all 0, which, then totals and their values.

    Most users know few families and categories, so only those are stored.
    """
    groups = [state.values[group.name] for group in _keyed(state.layout)]
    places = [np.flatnonzero(values.any(axis=(1, 2))) for values in groups]
    counts = [len(known) for known in places]
    known = [values[some].ravel() for values, some in zip(groups, places, strict=True)]
    values = np.concatenate([state.values["totals"].ravel(), *known])
    return np.concatenate([counts, *places]).astype("<u4").tobytes() + values.astype("<f8").tobytes()


def unpack(blob: bytes, layout: CounterLayout, reference_us: int) -> UserState:
    """Inverse of `pack`."""
    state = UserState(layout, reference_us)
    groups = [state.values[group.name] for group in _keyed(layout)]
    counts = np.frombuffer(blob, "<u4", len(groups)).tolist()
    places = np.frombuffer(blob, "<u4", sum(counts), 4 * len(groups))
    values = np.frombuffer(blob, "<f8", offset=4 * len(groups) + places.nbytes)
    totals = state.values["totals"]
    totals[...] = values[: totals.size].reshape(totals.shape)
    first, at = 0, totals.size
    for group, count in zip(groups, counts, strict=True):
        size = count * group[:1].size
        group[places[first : first + count]] = values[at : at + size].reshape(count, *group.shape[1:])
        first, at = first + count, at + size
    return state


def write_snapshot(
    path: Path,
    users: Iterable[UserRow],
    layout: CounterLayout,
    *,
    reference_us: int,
    declared: Sequence[str],
    known: Known = _NOTHING,
) -> int:
    """Write users in the order given, which should be sorted by id, and return how many.

    The same users give the same bytes. `declared` names the columns every user row may hold besides counters; `known`
    is of all modules and items, sorted by id.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    count = 0

    def rows() -> Iterable[tuple[str, bytes | None, str | None]]:
        nonlocal count
        for user in users:
            count += 1
            state = None if user.state is None else pack(user.state)
            yield user.user_id, state, json.dumps(user.declared, ensure_ascii=False) if user.declared else None

    try:
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("PRAGMA journal_mode = OFF")  # a half-written file is made anew, never mended
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_SCHEMA)
        meta = {
            "format": _FORMAT,
            "counters": layout.to_json(),
            "reference_us": reference_us,
            "declared": list(declared),
        }
        with connection:
            connection.executemany("INSERT INTO meta VALUES (?, ?)", [(k, json.dumps(v)) for k, v in meta.items()])
            connection.executemany("INSERT INTO users VALUES (?, ?, ?)", rows())
            for name, keys in (("modules", known.modules), ("items", known.items)):
                texts = ((key, json.dumps(of, ensure_ascii=False)) for key, of in keys.items())
                connection.executemany(f"INSERT INTO {name} VALUES (?, ?)", texts)
        connection.execute("VACUUM")
    finally:
        connection.close()
    return count


class UserSnapshot:
    """Reader of a snapshot: a `UserReader`.

    Attributes:
        layout: the counters it holds.
        reference_us: the time its counters stand at, microseconds since 1970 UTC.
        declared: names of the declared user columns.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise ContractError(f"The user snapshot {path} is missing. Run stage prepare, or export the bundle again.")
        # Opened here and once: a promotion that puts another file in its place must not mix with the graph loaded now.
        uri = path.resolve().as_uri() + "?mode=ro&immutable=1"
        self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        self._lock = threading.Lock()
        try:
            meta = {key: json.loads(value) for key, value in self._rows("SELECT key, value FROM meta")}
            if meta["format"] != _FORMAT:
                raise ContractError(f"{path} has format {meta['format']}, this version reads {_FORMAT}. Prepare again.")
            self.layout = CounterLayout.from_json(meta["counters"])
            self.reference_us: int = meta["reference_us"]
            self.declared: tuple[str, ...] = tuple(meta["declared"])
            self._modules = _keys(self._rows("SELECT module_id, keys FROM modules"))
        except (sqlite3.DatabaseError, KeyError, ValueError, TypeError) as error:
            raise ContractError(
                f"The user snapshot {path} cannot be read ({error}). Run stage prepare, or export the bundle again."
            ) from None

    def _rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def __len__(self) -> int:
        return int(self._rows("SELECT count(*) FROM users")[0][0])

    def user_ids(self) -> list[str]:
        """Every user id, sorted."""
        return [row[0] for row in self._rows("SELECT user_id FROM users ORDER BY user_id")]

    def get(self, user_id: str | None) -> UserState | None:
        """Counters of a user at `reference_us`; None for a user that is unknown or has no events."""
        row = self._row(user_id)
        return None if row is None or row[0] is None else unpack(row[0], self.layout, self.reference_us)

    def features(
        self,
        user_id: str | None,
        category: str | None,
        at_us: int,
        events: Sequence[EventRow] = (),
        pages: Sequence[PageRow] = (),
    ) -> dict[str, Any]:
        """As `UserReader.features`, with `events` and `pages` of the user before `at_us` counted: see `folding`."""
        row = self._row(user_id)
        state = None if row is None or row[0] is None else unpack(row[0], self.layout, self.reference_us)
        if (events or pages) and state is None:
            state = UserState(self.layout, self.reference_us)
        if state is not None:
            state = state.decayed_to(max(at_us, self.reference_us))
            if events or pages:
                known = self._known({row.item_id for row in events} | {row.item_id for row in pages})
                state.add_all([*known.of_events(events), *known.of_pages(pages)])
        features: dict[str, Any] = {**page_counters(state, category, self.layout)}
        declared = {} if row is None or row[1] is None else json.loads(row[1])
        for name in self.declared:
            features[name] = declared.get(name)
        return features

    def _known(self, items: set[str | None]) -> Known:
        return Known(self._modules, _keys(self._rows(_ITEMS, json.dumps(list(items)))))

    def _row(self, user_id: str | None) -> tuple[bytes | None, str | None] | None:
        if user_id is None:
            return None
        try:
            rows = self._rows("SELECT state, declared FROM users WHERE user_id = ?", user_id)
        except sqlite3.DatabaseError as error:
            raise ContractError(f"The user snapshot {self._path} cannot be read ({error}). Export it again.") from None
        return (rows[0][0], rows[0][1]) if rows else None


def _keys(rows: Iterable[tuple[str, str]]) -> dict[str, Keys]:
    return {key: json.loads(text) for key, text in rows}
