"""Guards against features that know the future: recompute some pages by brute force and compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pageopt.errors import ContractError
from pageopt.features.counters import FLOOR, TOP_CATEGORY, CounterLayout, UserState, page_counters

_NOTHING = 10 * FLOOR  # a counter at the floor may fall on either side of it


class UserEvent(NamedTuple):
    """One event of a user: when (microseconds), what, and the names it counts for (None where it has none)."""

    us: int
    kind: str
    family: str | None
    category: str | None


@dataclass(frozen=True)
class PageMoment:
    """One page, when its features had to be known, and what they are said to be (at least the counter columns)."""

    page_id: str
    user_id: str | None
    us: int
    hero_category: str | None
    features: Mapping[str, Any]


def assert_point_in_time(
    pages: Sequence[PageMoment],
    events: Mapping[str, Sequence[UserEvent]],
    layout: CounterLayout,
    tolerance: float = 1e-5,
) -> None:
    """Hold the counters of pages against those of the user's events strictly before each page.

    Args:
        pages: a sample of prepared pages.
        events: all events of their users by user_id, earlier and later, in any order.
        layout: names and half-lives of the counters.
        tolerance: relative difference allowed, above the rounding of float32.

    Raises:
        ContractError: a feature differs. It names page and feature: either it knows what came at or after the page, or
            misses what came before.
    """
    for page in pages:
        state = None
        if page.user_id is not None:
            state = UserState(layout)
            for event in events.get(page.user_id, ()):
                if event.us < page.us:
                    state.add(event.kind, event.us, family=event.family, category=event.category)
            state = state.decayed_to(page.us)
        for name, expected in page_counters(state, page.hero_category, layout).items():
            found = page.features[name]
            if isinstance(expected, float):
                same = found is not None and abs(found - expected) <= tolerance * expected + _NOTHING
            else:
                same = found == expected or _ties(state, name, found, expected, layout, tolerance)
            if not same:
                raise ContractError(
                    f"Feature {name} of page {page.page_id} is {found!r}, but events before it give {expected!r}. It "
                    "uses events at or after the page's own time, or misses earlier ones: a fault in "
                    "pageopt.features.batch.user_features, not in your logs. Do not train on this data."
                )


def _ties(
    state: UserState | None, name: str, found: str | None, expected: str | None, layout: CounterLayout, tolerance: float
) -> bool:
    """Whether two names for the top differ by rounding only."""
    if state is None or found is None or expected is None:
        return False
    values, kinds, names = (
        (state.categories, layout.category_kinds, layout.categories)
        if name == TOP_CATEGORY
        else (state.families, layout.family_kinds, layout.families)
    )
    clicks = values[:, kinds.index("click"), layout.longest]
    return found in names and bool(clicks[names.index(found)] >= clicks[names.index(expected)] * (1 - tolerance))
