"""Decayed counters of a user: their layout, and the arithmetic on one user's state.

A counter of events at t_1, t_2, … is S(t) = Σ 2^{−(t − t_i)/h} with half-life h. An event may count in part, or for
several keys: an item belongs to topics by shares, and a page shows several modules of one family. Batch features come
from `pageopt.features.batch.user_features`; this module is the reference they must agree with, and what serving
computes features from. NumPy only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from pageopt.problems.base import SUBJECT

HOUR = 3_600_000_000  # microseconds
# Counters below this are 0 everywhere: float32 would lose them, and both runtimes must lose them at the same place.
FLOOR = 2.0**-100
VIEW, SHOWN = "view", "shown"
"""Kinds of event that pages and impressions are: a user looks at what the page is about, and is shown its modules."""
Key = str | Mapping[str, float] | None
"""What an event counts for: one key, keys by how much of the event is theirs, or none."""
Keys = Mapping[str, Key]
"""What an event, a module or an item counts for, by `CounterGroup.by`."""


class Happened(NamedTuple):
    """One event of a user: when (microseconds since 1970 UTC), of which kind, and what it counts for."""

    us: int
    kind: str
    of: Keys


@dataclass(frozen=True)
class CounterGroup:
    """Counters that are kept for the same thing, such as all that a user did within each category.

    Attributes:
        name: of the group.
        by: the property of an event that they are kept for; empty where they count all that the user did.
        of: what has this property, the item or the module of an event.
        half_lives_hours: H half-lives.
        kinds: kinds of event counted.
        keys: sorted values of `by`; where that is empty, one empty key.
        prefix: what their columns on a page begin with.
        own: a page gets the counters of its own value of `by` only, not those of every value.
        read: what a page gets: the counts themselves; each key's share of them; or the lift, the clicks over what the
            key's modules, shown as often, usually get.
        usual: clicks of each key for each time shown, all users together; for lifts.
    """

    name: str
    by: str
    of: Literal["item", "module"]
    half_lives_hours: tuple[float, ...]
    kinds: tuple[str, ...]
    keys: tuple[str, ...]
    prefix: str
    own: bool = False
    read: Literal["counts", "shares", "lift"] = "counts"
    usual: tuple[float, ...] = ()

    @property
    def spread(self) -> bool:
        """Whether a page has columns for every value of `by`."""
        return bool(self.by) and not self.own

    @cached_property
    def lives_us(self) -> np.ndarray:
        """Every half-life in whole microseconds, `[H]`."""
        return np.array([round(hours * HOUR) for hours in self.half_lives_hours])

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Keys, kinds, H."""
        return len(self.keys), len(self.kinds), len(self.half_lives_hours)

    @cached_property
    def columns(self) -> dict[str, str]:
        """Its columns on a page, key by key, kind by kind and half-life by half-life, each with the key it is of."""
        kinds = ("lift",) if self.read == "lift" else self.kinds
        names = [f"{self.prefix}{kind}_{hours:g}h" for kind in kinds for hours in self.half_lives_hours]
        keys = self.keys if self.spread else ("",)
        return {f"{name}{key and '_'}{key}": key for key in keys for name in names}


@dataclass(frozen=True)
class CounterLayout:
    """Which counters there are, and what their columns are called.

    Attributes:
        half_lives_hours: of what the user did and looked at.
        kinds: kinds of event counted in all and by category of the item, views of pages among them.
        categories: sorted names.
        topics: what items are about, as `pageopt.features.batch.topics` has it.
        lifts: properties of modules, by which clicks are held against what was shown; of each its sorted values, and
            the clicks that all users together give a module of that value each time it is shown.
        lift_half_lives_hours: of the clicks and of what was shown that lifts are made of.
        prior_clicks: what a user's clicks are worth beside: so many clicks as usual are added to them.
    """

    half_lives_hours: tuple[float, ...]
    kinds: tuple[str, ...]
    categories: tuple[str, ...]
    topics: tuple[str, ...] = ()
    lifts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    lift_half_lives_hours: tuple[float, ...] = ()
    prior_clicks: float = 1.0

    @cached_property
    def groups(self) -> tuple[CounterGroup, ...]:
        """The groups, in the order of their columns. All that reads, writes or computes counters goes by this."""
        item: tuple[Literal["item"], tuple[float, ...]] = ("item", self.half_lives_hours)
        return (
            CounterGroup("totals", "", *item, self.kinds, ("",), "user_"),
            CounterGroup("categories", "category", *item, self.kinds, self.categories, f"user_{SUBJECT}_", own=True),
            CounterGroup("topics", "topic", *item, (VIEW,), self.topics, "user_topic_", read="shares"),
            *(self._lifts(by, tuple(usual), tuple(usual.values())) for by, usual in self.lifts.items()),
        )

    def _lifts(self, by: str, keys: tuple[str, ...], usual: tuple[float, ...]) -> CounterGroup:
        lives, kinds = self.lift_half_lives_hours, ("click", SHOWN)
        return CounterGroup(f"{by}_lifts", by, "module", lives, kinds, keys, f"user_{by}_", read="lift", usual=usual)

    @cached_property
    def counting(self) -> dict[str, list[tuple[CounterGroup, int, dict[str, int]]]]:
        """By kind of event the groups that count it, and where: the kind's place, and that of each key's first kind."""
        result: dict[str, list[tuple[CounterGroup, int, dict[str, int]]]] = {}
        for group in self.groups:
            places = {key: number * len(group.kinds) for number, key in enumerate(group.keys)}
            for at, kind in enumerate(group.kinds):
                result.setdefault(kind, []).append((group, at, places))
        return result

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every column that a page gets from the user's counters, group by group."""
        return tuple(name for group in self.groups for name in group.columns)

    def to_json(self) -> dict[str, Any]:
        """The layout as schema.json and the snapshot hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "CounterLayout":
        """Inverse of `to_json`."""
        lists: dict[str, Any] = {name: tuple(value) for name, value in content.items() if isinstance(value, list)}
        return cls(**{**content, **lists})


class UserState:
    """One user's counters, all decayed to one reference time.

    Attributes:
        reference_us: microseconds since 1970 UTC to which the values are decayed; None before the first event.
        values: by name of the group, float64 `[keys, kinds, H]`.
    """

    def __init__(
        self, layout: CounterLayout, reference_us: int | None = None, values: dict[str, np.ndarray] | None = None
    ) -> None:
        self.layout = layout
        self.reference_us = reference_us
        self.values = values or {group.name: np.zeros(group.shape) for group in layout.groups}

    def decayed_to(self, ts_us: int) -> "UserState":
        """The state at a later time. Raises ValueError for an earlier one, which the counters no longer know."""
        if self.reference_us is None:
            return UserState(self.layout, ts_us)
        if ts_us < self.reference_us:
            raise ValueError(f"Counters stand at {self.reference_us} µs and cannot go back to {ts_us} µs.")
        gone = ts_us - self.reference_us
        faded = {group.name: self.values[group.name] * np.exp2(-gone / group.lives_us) for group in self.layout.groups}
        return UserState(self.layout, ts_us, faded)

    def add(self, kind: str, us: int, **of: Key) -> None:
        """Count one event."""
        self.add_all([Happened(us, kind, of)])

    def add_all(self, events: Sequence[Happened]) -> None:
        """Count events. They may come late and in any order: the state is the same but for rounding.

        What the layout does not have is not counted.
        """
        if not events:
            return
        latest = max(event.us for event in events)
        reference_us = latest if self.reference_us is None else max(latest, self.reference_us)
        self.values, self.reference_us = self.decayed_to(reference_us).values, reference_us
        rows: dict[str, list[tuple[int, int, float]]] = {}
        for us, kind, of in events:
            for group, at, places in self.layout.counting.get(kind, ()):
                key = of.get(group.by) if group.by else ""
                shares = ((key, 1.0),) if key is None or isinstance(key, str) else key.items()
                for each, times in shares:
                    if each in places:
                        rows.setdefault(group.name, []).append((places[each] + at, reference_us - us, times))
        for group in self.layout.groups:
            if group.name in rows:
                cell, late, part = map(np.array, zip(*rows[group.name], strict=True))
                added = part[:, None] * np.exp2(-late[:, None] / group.lives_us)
                np.add.at(self.values[group.name].reshape(-1, len(group.lives_us)), cell, added)


def page_counters(state: UserState | None, category: str | None, layout: CounterLayout) -> dict[str, float]:
    """The counter columns of a page whose user has this state, by name.

    Values are taken as they stand at the state's reference time. An unknown user (None) has 0 everywhere. `category` is
    what the page is about.
    """
    if state is None:
        return dict.fromkeys(layout.names, 0.0)
    own = {"category": category}
    shown = []
    for group in layout.groups:
        values = np.where(state.values[group.name] < FLOOR, 0.0, state.values[group.name])
        if not group.spread:
            key = own.get(group.by, "")
            values = values[group.keys.index(key)] if key in group.keys else np.zeros(values.shape[1:])
        shown.append(on_page(values, group, layout.prior_clicks))
    return dict(zip(layout.names, np.concatenate(shown).tolist(), strict=True))


def on_page(values: np.ndarray, group: CounterGroup, prior_clicks: float) -> np.ndarray:
    """What pages show of a group's counters: `[…, columns]`, as `CounterGroup.columns`, of `[…, keys, kinds, H]`, or
    `[…, kinds, H]` where the group is not spread.

    Shares are of all that is counted and one more thing of no key, so that they begin at 0. The lift is that of a
    gamma-Poisson shrinker (DuMouchel 1999): ln((clicks + k) / (usual clicks + k)), where the key's modules usually get
    `usual` clicks each time they are shown, and k is `prior_clicks`; 0 for who was shown nothing.
    """
    if group.read == "shares":
        values = values / (values.sum(axis=-3, keepdims=True) + 1)
    elif group.read == "lift":
        clicks, shown = (values[..., group.kinds.index(kind), :] for kind in ("click", SHOWN))
        usual = shown * np.array(group.usual)[:, None]
        values = np.log1p((clicks - usual) / (usual + prior_clicks))[..., None, :]
    return values.reshape(*values.shape[: -3 if group.spread else -2], len(group.columns))
