"""Every user's counters at the end of the log, for the snapshot that serving reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from pageopt.features.batch.logs import Logs
from pageopt.features.batch.user_features import decayed_at
from pageopt.features.counters import HOUR, CounterGroup, CounterLayout, UserState
from pageopt.features.store.folding import Known
from pageopt.features.store.snapshot import UserRow, write_snapshot


def write_users(
    path: Path, logs: Logs, layout: CounterLayout, declared: tuple[str, ...], purchase_window_hours: float
) -> int:
    """Write the snapshot of all users at the end of the log, chunk by chunk, and return how many there are."""
    ends = (int(table.us.max().fill_null(0).execute()) for table in (logs.pages, logs.events))
    reference_us = max(ends) + 1  # counters hold what is strictly before, and the last event counts
    events = logs.of_users(layout)

    def rows() -> Iterator[UserRow]:
        for low, high in logs.chunks(logs.users, events):
            users = logs.users.filter(logs.users.user.between(low, high))
            theirs = events.filter(events.user.between(low, high))
            yield from snapshot_rows(users, theirs, layout, reference_us, declared)

    known = known_of(logs, purchase_window_hours)
    return write_snapshot(path, rows(), layout, reference_us=reference_us, declared=declared, known=known)


def known_of(logs: Logs, purchase_window_hours: float) -> Known:
    """What the logs know of modules and items, sorted by id."""

    def by_id(table: ir.Table, key: str, value: str) -> dict[str, str]:
        columns = table.select(key, value).order_by(key).to_pyarrow()
        return dict(zip(columns[key].to_pylist(), columns[value].to_pylist(), strict=True))

    families = by_id(logs.modules, "module_id", "family")
    return Known(families, by_id(logs.items, "item_id", "category"), round(purchase_window_hours * HOUR))


def snapshot_rows(
    users: ir.Table, events: ir.Table, layout: CounterLayout, reference_us: int, declared: tuple[str, ...]
) -> Iterator[UserRow]:
    """A row for each user that has events before `reference_us` or a declared value, ordered by user.

    Args:
        users: user, user_id and the declared columns.
        events: user, us, seq, kind and what `layout.by` names; as in `user_features`.
        layout: what to count.
        reference_us: the time counters stand at, microseconds since 1970 UTC.
        declared: names of the declared columns.
    """
    people = users.select("user", "user_id", *declared).order_by("user").to_pyarrow()
    code = people["user"].to_numpy()
    parts = {group.name: _Part(_at_end(events, group, layout, reference_us), group, code) for group in layout.groups}
    user_ids = people["user_id"].to_pylist()
    extras: list[dict[str, Any]] = people.select(list(declared)).to_pylist() if declared else [{}] * len(user_ids)
    for place, (user_id, extra) in enumerate(zip(user_ids, extras, strict=True)):
        known = {name: value for name, value in extra.items() if value is not None}
        state = None
        if parts["totals"].has(place):
            state = UserState(layout, reference_us)
            for name, part in parts.items():
                part.fill(place, state.values[name])
        if state is not None or known:
            yield UserRow(user_id, state, known)


def _at_end(events: ir.Table, group: CounterGroup, layout: CounterLayout, reference_us: int) -> pa.Table:
    """The counters of everything there are events for, sorted by user and key; both of them and each counter."""
    by = ("user", group.by) if group.by else ("user",)
    counted = events.filter(*(events[name].notnull() for name in by), events.kind.isin(group.kinds))
    points = counted.select(*by).distinct().mutate(us=ibis.literal(reference_us, "int64"))
    points = points.mutate(point=points.user.cast("int64"))
    counters = decayed_at(points, counted, by, layout, group.kinds, layout.half_lives)
    return counters.drop("point").order_by(list(by)).to_pyarrow()


class _Part:
    """Rows of one group of counters, and where those of each user start and end."""

    def __init__(self, rows: pa.Table, group: CounterGroup, users: np.ndarray) -> None:
        user = rows["user"].to_numpy()
        self._start = np.searchsorted(user, users, side="left").tolist()
        self._stop = np.searchsorted(user, users, side="right").tolist()
        self._key = rows[group.by].to_numpy() if group.by else np.zeros(len(rows), dtype=np.int64)
        values = [rows[name].to_numpy() for name in rows.column_names if name not in ("user", group.by)]
        self._values = np.stack(values, axis=1) if values else np.zeros((len(rows), 0))

    def has(self, place: int) -> bool:
        return self._start[place] < self._stop[place]

    def fill(self, place: int, target: np.ndarray) -> None:
        """Write one user's values into `[keys, kinds, H]`."""
        rows = slice(self._start[place], self._stop[place])
        target[self._key[rows]] = self._values[rows].reshape(-1, *target.shape[1:])
