"""Decayed counters of a user: their layout, and the arithmetic on one user's state.

A counter of events at t_1, t_2, … is S(t) = Σ 2^{−(t − t_i)/h} with half-life h. Batch features come
from `pageopt.features.batch.user_features`; this module is the reference they must agree with, and what serving
computes features from. NumPy only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

HOUR = 3_600_000_000  # microseconds
# Counters below this are 0 everywhere: float32 would lose them, and both runtimes must lose them at the same place.
FLOOR = 2.0**-100

TOP_CATEGORY, TOP_FAMILY = "user_top_category", "user_top_family"


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
    def kinds(self) -> tuple[str, ...]:
        """Every kind counted, which are also the kinds of the totals."""
        return tuple(dict.fromkeys((*self.category_kinds, *self.family_kinds)))

    @property
    def longest(self) -> int:
        """Index of the longest half-life, which decides the top category and family."""
        return int(np.argmax(self.half_lives_hours))

    def half_life_us(self, index: int) -> int:
        """Half-life in whole microseconds."""
        return round(self.half_lives_hours[index] * HOUR)

    def name(self, kind: str, half_life: int) -> str:
        """What one counter is called within its group, such as click_24h."""
        return f"{kind}_{self.half_lives_hours[half_life]:g}h"

    def _names(self, kinds: tuple[str, ...], prefix: str, suffix: str = "") -> list[str]:
        hours = range(len(self.half_lives_hours))
        return [f"{prefix}{self.name(kind, half_life)}{suffix}" for kind in kinds for half_life in hours]

    @cached_property
    def total_names(self) -> tuple[str, ...]:
        """Columns of the totals, kind by kind and half-life by half-life within."""
        return tuple(self._names(self.kinds, "user_"))

    @cached_property
    def hero_names(self) -> tuple[str, ...]:
        """Columns of the counters of the page's hero category."""
        return tuple(self._names(self.category_kinds, "user_hero_"))

    def family_names_of(self, family: str) -> tuple[str, ...]:
        """Columns of one family."""
        return tuple(self._names(self.family_kinds, "user_family_", f"_{family}"))

    @cached_property
    def numeric_names(self) -> tuple[str, ...]:
        """Every counter column: totals, hero category, then family by family."""
        families = [name for family in self.families for name in self.family_names_of(family)]
        return (*self.total_names, *self.hero_names, *families)

    @property
    def categorical_names(self) -> tuple[str, str]:
        """The columns that hold a name."""
        return TOP_CATEGORY, TOP_FAMILY

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that a page gets from the user's counters."""
        return (*self.numeric_names, *self.categorical_names)

    def to_json(self) -> dict[str, Any]:
        """The layout as schema.json and the snapshot hold it."""
        return {
            "half_lives_hours": list(self.half_lives_hours),
            "family_kinds": list(self.family_kinds),
            "category_kinds": list(self.category_kinds),
            "families": list(self.families),
            "categories": list(self.categories),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Sequence]) -> "CounterLayout":
        """Inverse of `to_json`."""
        return cls(**{name: tuple(values) for name, values in content.items()})


class UserState:
    """One user's counters, all decayed to one reference time.

    Attributes:
        reference_us: microseconds since 1970 UTC to which the values are decayed; None before the first event.
        totals: float64 `[kinds, H]`.
        families: float64 `[F, family kinds, H]`.
        categories: float64 `[categories, category kinds, H]`.
    """

    def __init__(
        self,
        layout: CounterLayout,
        reference_us: int | None = None,
        totals: np.ndarray | None = None,
        families: np.ndarray | None = None,
        categories: np.ndarray | None = None,
    ) -> None:
        hours = len(layout.half_lives_hours)
        self.layout = layout
        self.reference_us = reference_us
        self.totals = np.zeros((len(layout.kinds), hours)) if totals is None else totals
        shape = (len(layout.families), len(layout.family_kinds), hours)
        self.families = np.zeros(shape) if families is None else families
        shape = (len(layout.categories), len(layout.category_kinds), hours)
        self.categories = np.zeros(shape) if categories is None else categories

    def _decay(self, microseconds: int) -> np.ndarray:
        """2^{−Δ/h} for every half-life, `[H]`."""
        lives = np.array([self.layout.half_life_us(index) for index in range(len(self.layout.half_lives_hours))])
        return np.exp2(-microseconds / lives)

    def decayed_to(self, ts_us: int) -> "UserState":
        """The state at a later time. Raises ValueError for an earlier one, which the counters no longer know."""
        if self.reference_us is None:
            return UserState(self.layout, ts_us)
        if ts_us < self.reference_us:
            raise ValueError(f"Counters stand at {self.reference_us} µs and cannot go back to {ts_us} µs.")
        factor = self._decay(ts_us - self.reference_us)
        return UserState(self.layout, ts_us, self.totals * factor, self.families * factor, self.categories * factor)

    def add(self, kind: str, ts_us: int, *, family: str | None = None, category: str | None = None) -> None:
        """Count one event. Events may come late and in any order: the state is the same but for rounding.

        A kind, family or category that the layout does not have is not counted there.
        """
        if self.reference_us is None:
            self.reference_us = ts_us
        if ts_us > self.reference_us:
            later = self.decayed_to(ts_us)
            self.totals, self.families, self.categories = later.totals, later.families, later.categories
            self.reference_us = ts_us
        value = self._decay(self.reference_us - ts_us)
        layout = self.layout
        if kind in layout.kinds:
            self.totals[layout.kinds.index(kind)] += value
        if kind in layout.family_kinds and family in layout.families:
            self.families[layout.families.index(family), layout.family_kinds.index(kind)] += value
        if kind in layout.category_kinds and category in layout.categories:
            self.categories[layout.categories.index(category), layout.category_kinds.index(kind)] += value


def page_counters(state: UserState | None, hero_category: str | None, layout: CounterLayout) -> dict[str, Any]:
    """The counter columns of a page whose user has this state: floats by name, and the two top names (str or None).

    Values are taken as they stand at the state's reference time. An unknown user (None) has 0 everywhere and no tops.
    The top category or family has the largest click counter of the longest half-life, the earlier name on ties.
    """
    if state is None:
        return dict.fromkeys(layout.numeric_names, 0.0) | dict.fromkeys(layout.categorical_names)
    hero = np.zeros((len(layout.category_kinds), len(layout.half_lives_hours)))
    if hero_category in layout.categories:
        hero = state.categories[layout.categories.index(hero_category)]
    values = np.concatenate([state.totals.ravel(), hero.ravel(), state.families.ravel()])
    values[values < FLOOR] = 0.0
    features: dict[str, Any] = dict(zip(layout.numeric_names, values.tolist(), strict=True))
    features[TOP_CATEGORY] = _top(state.categories, layout.category_kinds, layout.categories, layout.longest)
    features[TOP_FAMILY] = _top(state.families, layout.family_kinds, layout.families, layout.longest)
    return features


def _top(values: np.ndarray, kinds: tuple[str, ...], names: tuple[str, ...], half_life: int) -> str | None:
    if "click" not in kinds or not names:
        return None
    clicks = values[:, kinds.index("click"), half_life]
    best = int(np.argmax(clicks))  # the first of equals, and names are sorted
    return names[best] if clicks[best] >= FLOOR else None
