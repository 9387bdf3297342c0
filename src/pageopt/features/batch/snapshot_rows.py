"""Every user's counters at the end of the log, for the snapshot that serving reads."""

from collections.abc import Iterator
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from pageopt.features.batch.user_features import decayed_at
from pageopt.features.counters import CounterLayout, UserState
from pageopt.features.store.snapshot import UserRow


def snapshot_rows(
    users: ir.Table, events: ir.Table, layout: CounterLayout, reference_us: int, declared: tuple[str, ...]
) -> Iterator[UserRow]:
    """A row for each user that has events before `reference_us` or a declared value, ordered by user.

    Args:
        users: user, user_id and the declared columns.
        events: user, us, seq, kind, family and category; as in `user_features`.
        layout: what to count.
        reference_us: the time counters stand at, microseconds since 1970 UTC.
        declared: names of the declared columns.
    """
    events = events.filter(events.user.notnull())
    shapes = {
        "totals": (("user",), layout.kinds, events),
        "families": (("user", "family"), layout.family_kinds, events.filter(events.family.notnull())),
        "categories": (("user", "category"), layout.category_kinds, events.filter(events.category.notnull())),
    }
    people = users.select("user", "user_id", *declared).order_by("user").to_pyarrow()
    code = people["user"].to_numpy()
    parts = {
        name: _Part(_at_end(rows, by, layout, kinds, reference_us), by, code)
        for name, (by, kinds, rows) in shapes.items()
    }
    user_ids = people["user_id"].to_pylist()
    extras: list[dict[str, Any]] = people.select(list(declared)).to_pylist() if declared else [{}] * len(user_ids)
    for place, (user_id, extra) in enumerate(zip(user_ids, extras, strict=True)):
        known = {name: value for name, value in extra.items() if value is not None}
        state = None
        if parts["totals"].has(place):
            state = UserState(layout, reference_us)
            for name, part in parts.items():
                part.fill(place, getattr(state, name))
        if state is not None or known:
            yield UserRow(user_id, state, known)


def _at_end(
    events: ir.Table, by: tuple[str, ...], layout: CounterLayout, kinds: tuple[str, ...], reference_us: int
) -> pa.Table:
    """The counters of everything there are events for, sorted by `by`; columns `by` and each counter."""
    counted = events.filter(events.kind.isin(kinds))
    points = counted.select(*by).distinct().mutate(us=ibis.literal(reference_us, "int64"))
    points = points.mutate(point=points.user.cast("int64"))
    half_lives = tuple(range(len(layout.half_lives_hours)))
    return decayed_at(points, counted, by, layout, kinds, half_lives).drop("point").order_by(list(by)).to_pyarrow()


class _Part:
    """Rows of one kind of counter, and where those of each user start and end."""

    def __init__(self, rows: pa.Table, by: tuple[str, ...], users: np.ndarray) -> None:
        user = rows["user"].to_numpy()
        self._start = np.searchsorted(user, users, side="left").tolist()
        self._stop = np.searchsorted(user, users, side="right").tolist()
        self._key = rows[by[1]].to_numpy() if len(by) > 1 else None
        values = [rows[name].to_numpy() for name in rows.column_names if name not in by]
        self._values = np.stack(values, axis=1) if values else np.zeros((len(rows), 0))

    def has(self, place: int) -> bool:
        return self._start[place] < self._stop[place]

    def fill(self, place: int, target: np.ndarray) -> None:
        """Write one user's values into `[kinds, H]`, or into `[keys, kinds, H]`."""
        rows = slice(self._start[place], self._stop[place])
        if self._key is None:
            target[...] = self._values[rows].reshape(target.shape)
        else:
            target[self._key[rows]] = self._values[rows].reshape(-1, *target.shape[1:])
