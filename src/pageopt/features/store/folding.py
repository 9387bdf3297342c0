"""What a user's events count for when they are read: one rule for every store, and that of `pageopt.features.batch`."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pageopt.features.counters import SHOWN, VIEW, Key, UserState
from pageopt.features.store.base import EventRow, PageRow

Keys = Mapping[str, Key]
"""What a module or an item counts for, by `CounterGroup.by`."""


@dataclass(frozen=True)
class Known:
    """What the logs know of modules and items. By id: all modules, and the items at hand, or all."""

    modules: Mapping[str, Keys]
    items: Mapping[str, Keys]


def fold(state: UserState, events: Iterable[EventRow], known: Known) -> None:
    """Add one user's events to the user's state, which has none of them."""
    for event in events:
        of = {**known.items.get(event.item_id or "", {}), **known.modules.get(event.module_id or "", {})}
        state.add(event.kind, event.ts, **of)


def see(state: UserState, pages: Iterable[PageRow], known: Known) -> None:
    """Add one user's views of pages, and what these showed, to the user's state, which has none of them."""
    for page in pages:
        state.add(VIEW, page.ts, **known.items.get(page.item_id, {}))
        shown: dict[str, Counter[str]] = {}
        for module_id in page.module_ids:
            for by, key in known.modules.get(module_id, {}).items():
                shown.setdefault(by, Counter())[str(key)] += 1
        state.add(SHOWN, page.ts, **shown)
