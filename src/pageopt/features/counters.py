"""Decayed counters of a user: their layout, and the arithmetic on one user's state.

A counter of events at t_1, t_2, … is S(t) = Σ 2^{−(t − t_i)/h} with half-life h. Batch features come
from `pageopt.features.batch.user_features`; this module is the reference they must agree with, and what serving
computes features from. NumPy only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pageopt.problems.base import SUBJECT

HOUR = 3_600_000_000  # microseconds
# Counters below this are 0 everywhere: float32 would lose them, and both runtimes must lose them at the same place.
FLOOR = 2.0**-100


@dataclass(frozen=True)
class CounterGroup:
    """Counters that are kept for the same thing, such as all that a user did within each category.

    Attributes:
        name: of the group.
        by: the property of an event that they are kept for; empty where they count all that the user did.
        kinds: kinds of event counted.
        keys: sorted values of `by`; where that is empty, one empty key.
        prefix: what their columns on a page begin with.
        own: a page gets the counters of its own value of `by` only, not those of every value.
        top: the column of a page that names the value clicked most, None where there is none.
    """

    name: str
    by: str
    kinds: tuple[str, ...]
    keys: tuple[str, ...]
    prefix: str
    own: bool = False
    top: str | None = None

    @property
    def spread(self) -> bool:
        """Whether a page has columns for every value of `by`."""
        return bool(self.by) and not self.own


@dataclass(frozen=True)
class CounterLayout:
    """Which counters there are, and what their columns are called.

    Attributes:
        half_lives_hours: H half-lives.
        family_kinds: kinds of event counted by family of the module.
        category_kinds: kinds of event counted by category of the item.
        families, categories: sorted names.
    """

    half_lives_hours: tuple[float, ...]
    family_kinds: tuple[str, ...]
    category_kinds: tuple[str, ...]
    families: tuple[str, ...]
    categories: tuple[str, ...]

    @cached_property
    def groups(self) -> tuple[CounterGroup, ...]:
        """The groups, in the order of their columns. All that reads, writes or computes counters goes by this."""
        every = tuple(dict.fromkeys((*self.category_kinds, *self.family_kinds)))
        categories, families = (self.category_kinds, self.categories), (self.family_kinds, self.families)
        return (
            CounterGroup("totals", "", every, ("",), "user_"),
            CounterGroup("categories", "category", *categories, f"user_{SUBJECT}_", own=True, top="user_top_category"),
            CounterGroup("families", "family", *families, "user_family_", top="user_top_family"),
        )

    @cached_property
    def by(self) -> tuple[str, ...]:
        """The properties of an event that counters are kept for."""
        return tuple(group.by for group in self.groups if group.by)

    @property
    def half_lives(self) -> tuple[int, ...]:
        """Indexes of the half-lives."""
        return tuple(range(len(self.half_lives_hours)))

    @property
    def longest(self) -> int:
        """Index of the longest half-life, which decides the top category and family."""
        return int(np.argmax(self.half_lives_hours))

    @cached_property
    def lives_us(self) -> np.ndarray:
        """Every half-life in whole microseconds, `[H]`."""
        return np.array([self.half_life_us(index) for index in self.half_lives])

    def half_life_us(self, index: int) -> int:
        """Half-life in whole microseconds."""
        return round(self.half_lives_hours[index] * HOUR)

    def name(self, kind: str, half_life: int) -> str:
        """What one counter is called within its group, such as click_24h."""
        return f"{kind}_{self.half_lives_hours[half_life]:g}h"

    def cells(self, group: CounterGroup) -> tuple[str, ...]:
        """What the counters of one key are called, kind by kind and half-life by half-life within."""
        return tuple(self.name(kind, half_life) for kind in group.kinds for half_life in self.half_lives)

    def columns(self, group: CounterGroup) -> tuple[str, ...]:
        """A group's columns on a page: key by key, and the counters of a key as in `cells`."""
        ends = [f"_{key}" for key in group.keys] if group.spread else [""]
        return tuple(f"{group.prefix}{name}{end}" for end in ends for name in self.cells(group))

    @cached_property
    def numeric_names(self) -> tuple[str, ...]:
        """Every counter column, group by group."""
        return tuple(name for group in self.groups for name in self.columns(group))

    @cached_property
    def categorical_names(self) -> tuple[str, ...]:
        """The columns that hold a name."""
        return tuple(group.top for group in self.groups if group.top is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that a page gets from the user's counters."""
        return (*self.numeric_names, *self.categorical_names)

    def to_json(self) -> dict[str, Any]:
        """The layout as schema.json and the snapshot hold it."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Sequence]) -> "CounterLayout":
        """Inverse of `to_json`."""
        return cls(**{name: tuple(values) for name, values in content.items()})


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
        self.values = values or {
            group.name: np.zeros((len(group.keys), len(group.kinds), len(layout.half_lives_hours)))
            for group in layout.groups
        }

    def _decay(self, microseconds: int) -> np.ndarray:
        """2^{−Δ/h} for every half-life, `[H]`."""
        return np.exp2(-microseconds / self.layout.lives_us)

    def decayed_to(self, ts_us: int) -> "UserState":
        """The state at a later time. Raises ValueError for an earlier one, which the counters no longer know."""
        if self.reference_us is None:
            return UserState(self.layout, ts_us)
        if ts_us < self.reference_us:
            raise ValueError(f"Counters stand at {self.reference_us} µs and cannot go back to {ts_us} µs.")
        factor = self._decay(ts_us - self.reference_us)
        return UserState(self.layout, ts_us, {name: values * factor for name, values in self.values.items()})

    def add(self, kind: str, ts_us: int, **of: str | None) -> None:
        """Count one event of this kind; `of` names its family, category and so on, by `CounterGroup.by`.

        Events may come late and in any order: the state is the same but for rounding. What the layout does not have is
        not counted.
        """
        if self.reference_us is None:
            self.reference_us = ts_us
        if ts_us > self.reference_us:
            self.values = self.decayed_to(ts_us).values
            self.reference_us = ts_us
        value = self._decay(self.reference_us - ts_us)
        for group in self.layout.groups:
            key = of.get(group.by, "")
            if kind in group.kinds and key in group.keys:
                self.values[group.name][group.keys.index(key), group.kinds.index(kind)] += value


def page_counters(state: UserState | None, category: str | None, layout: CounterLayout) -> dict[str, Any]:
    """The counter columns of a page whose user has this state: floats by name, and the top names (str or None).

    Values are taken as they stand at the state's reference time. An unknown user (None) has 0 everywhere and no tops.
    The top key of a group has the largest click counter of the longest half-life, the earlier name on ties.
    `category` is what the page is about.
    """
    if state is None:
        return dict.fromkeys(layout.numeric_names, 0.0) | dict.fromkeys(layout.categorical_names)
    own = {"category": category}
    shown = []
    for group in layout.groups:
        values = state.values[group.name]
        if group.own:
            key = own[group.by]
            values = values[group.keys.index(key)] if key in group.keys else np.zeros(values.shape[1:])
        shown.append(values.ravel())
    numbers = np.concatenate(shown)
    numbers[numbers < FLOOR] = 0.0
    features: dict[str, Any] = dict(zip(layout.numeric_names, numbers.tolist(), strict=True))
    for group in layout.groups:
        if group.top:
            features[group.top] = _top(state.values[group.name], group, layout.longest)
    return features


def _top(values: np.ndarray, group: CounterGroup, half_life: int) -> str | None:
    if "click" not in group.kinds or not group.keys:
        return None
    clicks = values[:, group.kinds.index("click"), half_life]
    best = int(np.argmax(clicks))  # the first of equals, and names are sorted
    return group.keys[best] if clicks[best] >= FLOOR else None
