"""Every user's counters at the end of the log, for the snapshot that serving reads."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pageopt.features.batch.logs import Logs
from pageopt.features.batch.user_events import UserEvents
from pageopt.features.batch.user_features import counters_at
from pageopt.features.counters import CounterGroup, CounterLayout, Key, UserState
from pageopt.features.store.folding import Known
from pageopt.features.store.snapshot import UserRow, write_snapshot


def write_users(path: Path, logs: Logs, events: UserEvents, layout: CounterLayout, declared: tuple[str, ...]) -> int:
    """Write the snapshot of all users at the end of the log, chunk by chunk, and return how many there are."""
    ends = (int(table.us.max().fill_null(0).execute()) for table in (logs.pages, logs.events))
    reference_us = max(ends) + 1  # counters hold what is strictly before, and the last event counts

    def rows() -> Iterator[UserRow]:
        for low, high in logs.chunks(logs.users, events.rows):
            users = logs.users.filter(logs.users.user.between(low, high))
            yield from snapshot_rows(users, events.between(low, high), layout, reference_us, declared)

    known = known_of(logs, events, layout)
    return write_snapshot(path, rows(), layout, reference_us=reference_us, declared=declared, known=known)


def known_of(logs: Logs, events: UserEvents, layout: CounterLayout) -> Known:
    """What the logs know of modules and items, sorted by id."""
    known: dict[str, dict[str, dict[str, Key]]] = {}
    for of, table in (("module", logs.modules), ("item", logs.items)):
        ids = table.order_by(of).select(f"{of}_id").to_pyarrow().column(0).to_pylist()
        known[of] = {each: {} for each in ids}
        for group in layout.groups:
            if group.by and group.of == of:
                for number, keys in events.keys_of(group).items():
                    known[of][ids[number]][group.by] = keys
    return Known(known["module"], known["item"])


def snapshot_rows(
    users: ir.Table, events: UserEvents, layout: CounterLayout, reference_us: int, declared: tuple[str, ...]
) -> Iterator[UserRow]:
    """A row for each user that has events before `reference_us` or a declared value, ordered by user.

    Args:
        users: user, user_id and the declared columns.
        events: of these users.
        layout: what to count.
        reference_us: the time counters stand at, microseconds since 1970 UTC.
        declared: names of the declared columns.
    """
    people = users.select("user", "user_id", *declared).order_by("user").to_pyarrow()
    parts = {group.name: _at_end(events, group, reference_us) for group in layout.groups}
    extras: list[dict[str, Any]] = people.select(list(declared)).to_pylist() if declared else [{}] * len(people)
    for user, user_id, extra in zip(people["user"].to_pylist(), people["user_id"].to_pylist(), extras, strict=True):
        known = {name: value for name, value in extra.items() if value is not None}
        state = None
        if any(user in part for part in parts.values()):
            state = UserState(layout, reference_us)
            for name, part in parts.items():
                for key, values in part.get(user, {}).items():
                    state.values[name][key] = values
        if state is not None or known:
            yield UserRow(user_id, state, known)


def _at_end(events: UserEvents, group: CounterGroup, reference_us: int) -> dict[int, dict[int, NDArray[np.float64]]]:
    """The counters `[kinds, H]` of each user and key that there are events of."""
    counted = events.counted(group).to_pyarrow()
    by = ["user", group.by] if group.by else ["user"]
    ends = counted.select(by).group_by(by).aggregate([]).sort_by([(name, "ascending") for name in by])
    ends = ends.append_column("us", pa.array(np.full(len(ends), reference_us)))
    values = counters_at(ends, counted, replace(group, own=bool(group.by)))
    keys = ends[group.by].to_pylist() if group.by else [0] * len(ends)
    result: dict[int, dict[int, NDArray[np.float64]]] = {}
    for user, key, value in zip(ends["user"].to_pylist(), keys, values, strict=True):
        result.setdefault(user, {})[key] = value
    return result
