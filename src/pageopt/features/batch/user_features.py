"""Decayed counters of users at the time of each page, for whole logs: all users go from moment to moment together.

S(t) = Σ 2^{−(t − t_i)/h} over events strictly before t, in time linear in the log. The first moments of all users are
one step of arithmetic, their second moments the next, and so on. What it gives one user does not depend on who is
computed beside. The reference for one user is `counters.UserState`.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pageopt.features.counters import FLOOR, CounterGroup

Ints = NDArray[np.int64]


class Moments(NamedTuple):
    """When something happens to whom: int64 arrays `[rows]` of who, any numbers, and microseconds since 1970."""

    who: Ints
    us: Ints


def decayed_at(
    points: Moments, events: Moments, cell: Ints, times: NDArray[np.float64], cells: int, lives_us: Ints
) -> NDArray[np.float64]:
    """Counters `[points, cells, H]` at every point, over the events of the same `who` strictly before it.

    Args:
        points: where counters are read.
        events: what is counted; each adds `times` `[events]` to the counter `cell` `[events]`, below `cells`.
        lives_us: H half-lives in microseconds.
    """
    who, us = (np.concatenate(both) for both in zip(points, events, strict=True))
    order = np.lexsort((us, who))
    who, us = who[order], us[order]
    other = np.ones(len(order), dtype=bool)  # than the row before
    other[1:] = who[1:] != who[:-1]
    new = other.copy()
    new[1:] |= us[1:] != us[:-1]
    moment = np.empty(len(order), dtype=np.int64)
    moment[order] = np.cumsum(new) - 1
    first = other[new]
    since = np.diff(us[new], prepend=0)
    since[first] = 0
    person = np.cumsum(first) - 1
    start = np.flatnonzero(first)
    length = np.diff(start, append=len(first))
    number = np.arange(len(first)) - start[person]  # of the person's moments
    # Who has more moments comes first: those that are still on the way are always the first rows of the state.
    row = np.empty(len(start), dtype=np.int64)
    row[np.argsort(-length, kind="stable")] = np.arange(len(start))
    steps = np.lexsort((row[person], number))
    of_step = np.concatenate([[0], np.cumsum(np.bincount(number))])
    read, added = moment[: len(points.us)], moment[len(points.us) :]
    reads, reads_of = _by_step(number[read], len(of_step))
    added, cell, times = _summed(added, cell, times, cells)
    adds, adds_of = _by_step(number[added], len(of_step))

    state = np.zeros((len(start), cells, len(lives_us)))
    values = np.zeros((len(points.us), cells, len(lives_us)))
    for step in range(len(of_step) - 1):
        mine = steps[of_step[step] : of_step[step + 1]]
        state[: len(mine)] *= np.exp2(-since[mine, None] / lives_us)[:, None]
        asked = reads[reads_of[step] : reads_of[step + 1]]
        values[asked] = state[row[person[read[asked]]]]
        happened = adds[adds_of[step] : adds_of[step + 1]]
        state[row[person[added[happened]]], cell[happened]] += times[happened, None]
    values[values < FLOOR] = 0.0
    return values


def _by_step(step: Ints, steps: int) -> tuple[Ints, Ints]:
    """Rows in the order of their step, and where each step begins."""
    order = np.argsort(step, kind="stable")
    return order, np.searchsorted(step[order], np.arange(steps))


def _summed(moment: Ints, cell: Ints, times: NDArray[np.float64], cells: int) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """What is added to one cell at one moment, in one row."""
    both, place = np.unique(moment * cells + cell, return_inverse=True)
    total = np.bincount(place, weights=times, minlength=len(both)).astype(np.float64)
    return both // max(cells, 1), both % max(cells, 1), total


def counters_at(points: pa.Table, events: pa.Table, group: CounterGroup) -> NDArray[np.float64]:
    """A group's counters `[points, keys, kinds, H]`, or `[points, kinds, H]` where it is not spread.

    Args:
        points: user, us, and `group.by` (index into `group.keys`, null where unknown) where pages get their own key's.
        events: user, us, kind, times, and `group.by`; see `UserEvents.counted`.
        group: what to count, and how it fades.
    """
    keys, kinds, lives = group.shape
    cell = pc.index_in(events["kind"], pa.array(group.kinds, pa.string())).to_numpy().astype(np.int64)
    at, happened = (Moments(_ints(rows["user"]), _ints(rows["us"])) for rows in (points, events))
    times = events["times"].to_numpy()
    if group.spread:
        values = decayed_at(at, happened, _ints(events[group.by]) * kinds + cell, times, keys * kinds, group.lives_us)
        return values.reshape(len(points), keys, kinds, lives)
    known = np.ones(len(points), dtype=bool)
    if group.by:  # each user's doings with one key are a story of their own
        known = points[group.by].is_valid().to_numpy()
        own = _ints(points[group.by].fill_null(0))
        at = Moments((at.who * keys + own)[known], at.us[known])
        happened = Moments(happened.who * keys + _ints(events[group.by]), happened.us)
    result = np.zeros((len(points), kinds, lives))
    result[known] = decayed_at(at, happened, cell, times, kinds, group.lives_us)
    return result


def _ints(column: pa.ChunkedArray) -> Ints:
    return column.to_numpy().astype(np.int64)
