"""Decayed counters of users at the time of each page, for whole logs.

S(t) = Σ 2^{−(t − t_i)/h} over events strictly before t, in time linear in the log: a running sum of
2^{t_i/h} divided by 2^{t/h}. Powers of absolute time overflow, so time is cut into stretches of 500 half-lives: within
one, exponents stay below 500; the stretch before adds its total, decayed; older ones would add less than 2^−500 and are
left out. Counters below `counters.FLOOR` are 0. The reference for one user is `counters.UserState`.
"""

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from pageopt.features.counters import FLOOR, CounterGroup, CounterLayout

STRETCH = 500  # half-lives; doubles reach 2^1023


def decayed_at(
    points: ir.Table,
    events: ir.Table,
    by: tuple[str, ...],
    layout: CounterLayout,
    kinds: tuple[str, ...],
    half_lives: tuple[int, ...],
) -> ir.Table:
    """Counters of `events` of the same `by` at every point, over events strictly before it.

    Args:
        points: the columns `by` (integers, never null), us (int64 microseconds) and point (int64).
        events: the columns `by`, us, kind and seq (int64, in the order of (ts, event_id)).
        by: what counters are kept for, such as user and category.
        layout: half-lives and names.
        kinds: kinds of event to count.
        half_lives: indexes of the half-lives to decay with.

    Returns:
        One row a point: the columns `by`, point, and float64 columns `layout.name(kind, half_life)`, kind by kind and
        half-life by half-life within.
    """
    counted = events.filter(events.kind.isin(kinds)).select(*by, "us", "seq", "kind")
    # At one time points stand before events: a page must not know what happened the moment it was shown.
    rows = points.select(*by, "us", "point", seq=ibis.literal(-1, "int64"), kind=ibis.null("string")).union(
        counted.select(*by, "us", "seq", "kind", point=ibis.null("int64")).select(*by, "us", "point", "seq", "kind")
    )
    result = _running(rows, by, layout, kinds, half_lives).filter(lambda t: t.seq == -1)
    sums = _running(counted, by, layout, kinds, half_lives)
    for index in half_lives:
        total = _of_stretch(sums, by, layout, kinds, index)
        stretch = f"stretch_{index}"
        matches = [result[name] == total[f"total_{name}"] for name in by]
        result = result.left_join(total, [*matches, result[stretch] - 1 == total[f"total_{stretch}"]])
        result = result.drop(*(f"total_{name}" for name in by), f"total_{stretch}")
    values = {}
    for kind in kinds:  # kind by kind, as in every array of counters
        for index in half_lives:
            name = layout.name(kind, index)
            before = result[f"total_{name}"].fill_null(0.0) * 2.0**-STRETCH
            value = (result[name] + before) * ibis.literal(2.0) ** -result[f"age_{index}"]
            values[name] = ibis.ifelse(value < FLOOR, 0.0, value)
    return result.select(*by, "point", **values)


def _running(
    rows: ir.Table, by: tuple[str, ...], layout: CounterLayout, kinds: tuple[str, ...], half_lives: tuple[int, ...]
) -> ir.Table:
    """Add, for each half-life, a row's stretch, its age there in half-lives, and by kind the sum of 2^age so far."""
    lives = {index: layout.half_life_us(index) for index in half_lives}
    rows = rows.mutate(**{f"stretch_{i}": (rows.us // (us * STRETCH)).cast("int64") for i, us in lives.items()})
    ages = {
        f"age_{i}": (rows.us - rows[f"stretch_{i}"] * (us * STRETCH)).cast("float64") / us for i, us in lives.items()
    }
    rows = rows.mutate(**ages)
    sums = {}
    for index in half_lives:
        so_far = ibis.window(group_by=[*by, f"stretch_{index}"], order_by=["us", "seq"], preceding=(None, 0))
        grown = ibis.literal(2.0) ** rows[f"age_{index}"]
        for kind in kinds:
            counts = ibis.ifelse(rows.kind == kind, grown, 0.0).fill_null(0.0)
            sums[layout.name(kind, index)] = counts.sum().over(so_far)
    return rows.mutate(**sums)


def _of_stretch(
    events: ir.Table, by: tuple[str, ...], layout: CounterLayout, kinds: tuple[str, ...], index: int
) -> ir.Table:
    """Totals of each stretch. The largest running sum is the last one, and unlike a grouped sum has one order only."""
    stretch = f"stretch_{index}"
    names = [layout.name(kind, index) for kind in kinds]
    totals = events.group_by(*by, stretch).agg(**{f"total_{name}": events[name].max() for name in names})
    return totals.rename({f"total_{name}": name for name in (*by, stretch)})


def dense_counters(points: ir.Table, events: ir.Table, group: CounterGroup, layout: CounterLayout) -> ir.Table:
    """Counters of a group that a page has one key of: point, and a float32 column each of `layout.cells`.

    A row for each page whose key is known.

    Args:
        points: point (int64, unique), user (int64, never null), us, and `group.by` (int64 index into `group.keys`, null
            where unknown).
        events: user (never null), us, seq, kind, and `group.by` as in points.
        group: of `layout`, not spread.
        layout: half-lives and names.
    """
    by = ("user", group.by) if group.by else ("user",)
    known = points.filter(*(points[name].notnull() for name in by)).select(*by, "us", "point")
    counted = events.filter(*(events[name].notnull() for name in by))
    counters = decayed_at(known, counted, by, layout, group.kinds, layout.half_lives)
    return counters.select("point", **{name: counters[name].cast("float32") for name in layout.cells(group)})


def counters_by_key(points: ir.Table, events: ir.Table, group: CounterGroup, layout: CounterLayout) -> ir.Table:
    """Counters by key, sparse: point, `group.by` and a float64 column each; arguments as in `dense_counters`.

    A row for each key that the page's user had an event of before the page. Of a group that is not spread only clicks
    are counted, with the longest half-life: what `top_of` asks for.
    """
    kinds, half_lives = (group.kinds, layout.half_lives) if group.spread else (("click",), (layout.longest,))
    counted = events.filter(events[group.by].notnull() & events.kind.isin(kinds))
    reached = _reached(points, counted, group.by)
    return decayed_at(reached, counted, ("user", group.by), layout, kinds, half_lives).drop("user")


def top_of(counters: ir.Table, group: CounterGroup, layout: CounterLayout) -> ir.Table:
    """Columns point and top: the key with the largest click counter of the longest half-life, the smallest on ties.

    Points whose click counters are all 0 have no row. `counters` is from `counters_by_key`.
    """
    if "click" not in group.kinds:
        return counters.select("point", top=group.by).limit(0)
    counters = counters.select("point", group.by, clicks=layout.name("click", layout.longest))
    counters = counters.filter(counters.clicks > 0)
    ranked = counters.mutate(best=counters.clicks.max().over(ibis.window(group_by="point")))
    best = ranked.filter(ranked.clicks == ranked.best)
    return best.group_by("point").agg(top=best[group.by].min())


def on_pages(
    rows: pa.Table, place: np.ndarray, group: CounterGroup, layout: CounterLayout, pages: int
) -> dict[str, np.ndarray]:
    """A group's columns, each float32 `[pages]` by name, from rows of `dense_counters` or `counters_by_key`.

    `place` is that of each row's page. Pages without a row have 0.
    """
    cells = layout.cells(group)
    values = np.zeros((pages, len(group.keys) if group.spread else 1, len(cells)), dtype=np.float32)
    key = rows[group.by].to_numpy() if group.spread else 0
    for index, name in enumerate(cells):
        values[place, key, index] = rows[name].to_numpy()
    flat = values.reshape(pages, -1)
    return {name: np.ascontiguousarray(flat[:, index]) for index, name in enumerate(layout.columns(group))}


def _reached(points: ir.Table, events: ir.Table, key: str) -> ir.Table:
    """Each point once for every `key` that its user had an event of before it; all other counters of it are 0."""
    first = events.group_by("user", key).agg(first_us=events.us.min()).rename(key_user="user", reached_key=key)
    pairs = points.join(first, [points.user == first.key_user, points.us > first.first_us])
    return pairs.select("user", "us", "point", **{key: pairs.reached_key})
