"""Decayed counters of users at the time of each page, for whole logs.

S(t) = Σ 2^{−(t − t_i)/h} over events strictly before t, in time linear in the log: a running sum of
2^{t_i/h} divided by 2^{t/h}. Powers of absolute time overflow, so time is cut into stretches of 500 half-lives: within
one, exponents stay below 500; the stretch before adds its total, decayed; older ones would add less than 2^−500 and are
left out. Counters below `counters.FLOOR` are 0. The reference for one user is `counters.UserState`.
"""

import ibis
import ibis.expr.types as ir
import numpy as np

from pageopt.features.counters import FLOOR, CounterLayout

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


def total_counters(points: ir.Table, events: ir.Table, layout: CounterLayout) -> ir.Table:
    """Counters over all events of the page's user: point, and float32 columns `layout.total_names`.

    Args:
        points: point (int64, unique), user (int64, never null) and us.
        events: user (never null), us, seq, kind.
        layout: what to count.
    """
    totals = decayed_at(points.select("user", "us", "point"), events, ("user",), layout, layout.kinds, _every(layout))
    return _named(totals, layout.kinds, layout, layout.total_names)


def hero_counters(points: ir.Table, events: ir.Table, layout: CounterLayout) -> ir.Table:
    """Counters of the hero's category: point, and float32 columns `layout.hero_names`; a row a page that has one.

    Args:
        points: point, user, us and category (int64 index into `layout.categories`, null where unknown).
        events: user, us, seq, kind and category.
        layout: what to count.
    """
    known = points.filter(points.category.notnull()).select("user", "category", "us", "point")
    counted = events.filter(events.category.notnull())
    hero = decayed_at(known, counted, ("user", "category"), layout, layout.category_kinds, _every(layout))
    return _named(hero, layout.category_kinds, layout, layout.hero_names)


def family_counters(points: ir.Table, events: ir.Table, layout: CounterLayout) -> ir.Table:
    """Counters by family, sparse: point, family and a float64 column `layout.name(kind, half_life)` each.

    A row for each family that the page's user had an event of before the page; `families_wide` makes columns of them.

    Args:
        points: point, user and us.
        events: user, us, seq, kind and family (int64 index into `layout.families`, null where there is none).
        layout: what to count.
    """
    counted = events.filter(events.family.notnull() & events.kind.isin(layout.family_kinds))
    reached = _reached(points, counted, "family")
    return decayed_at(reached, counted, ("user", "family"), layout, layout.family_kinds, _every(layout)).drop("user")


def category_clicks(points: ir.Table, events: ir.Table, layout: CounterLayout) -> ir.Table:
    """Click counters of the longest half-life by category, sparse: point, category and that counter (float64).

    A row for each category that the page's user clicked before the page; arguments as in `hero_counters`.
    """
    counted = events.filter(events.category.notnull() & (events.kind == "click"))
    reached = _reached(points, counted, "category")
    return decayed_at(reached, counted, ("user", "category"), layout, ("click",), (layout.longest,)).drop("user")


def top_of(counters: ir.Table, key: str, layout: CounterLayout) -> ir.Table:
    """Columns point and top: the `key` with the largest click counter of the longest half-life, the smallest on ties.

    Points whose click counters are all 0 have no row. `counters` is from `family_counters` or `category_clicks`.
    """
    clicks = layout.name("click", layout.longest)
    if clicks not in counters.columns:
        return counters.select("point", top=key).limit(0)
    counters = counters.select("point", key, clicks=counters[clicks]).filter(lambda t: t.clicks > 0)
    ranked = counters.mutate(best=counters.clicks.max().over(ibis.window(group_by="point")))
    best = ranked.filter(ranked.clicks == ranked.best)
    return best.group_by("point").agg(top=best[key].min())


def families_wide(row: np.ndarray, family: np.ndarray, values: np.ndarray, rows: int, families: int) -> np.ndarray:
    """Sparse family counters as float32 `[rows, families × counters]`, in the order of `CounterLayout.numeric_names`.

    Args:
        row: place of each sparse row's page, `[sparse rows]`.
        family: index of its family, `[sparse rows]`.
        values: its counters, kind by kind and half-life by half-life within, `[sparse rows, counters]`.
        rows: pages.
        families: F.
    """
    wide = np.zeros((rows, families, values.shape[1]), dtype=np.float32)
    wide[row, family] = values
    return wide.reshape(rows, -1)


def _every(layout: CounterLayout) -> tuple[int, ...]:
    return tuple(range(len(layout.half_lives_hours)))


def _named(table: ir.Table, kinds: tuple[str, ...], layout: CounterLayout, names: tuple[str, ...]) -> ir.Table:
    """Point and the counters by their column names, as float32."""
    cells = [(kind, index) for kind in kinds for index in _every(layout)]
    columns = {name: table[layout.name(*cell)].cast("float32") for name, cell in zip(names, cells, strict=True)}
    return table.select("point", **columns)


def _reached(points: ir.Table, events: ir.Table, key: str) -> ir.Table:
    """Each point once for every `key` that its user had an event of before it; all other counters of it are 0."""
    first = events.group_by("user", key).agg(first_us=events.us.min()).rename(key_user="user", reached_key=key)
    pairs = points.join(first, [points.user == first.key_user, points.us > first.first_us])
    return pairs.select("user", "us", "point", **{key: pairs.reached_key})
