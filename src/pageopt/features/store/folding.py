"""What a user's events count for when they are read: one rule for every store, and that of `pageopt.features.batch`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pageopt.features.counters import UserState
from pageopt.features.store.base import EventRow


@dataclass(frozen=True)
class Known:
    """What the logs know of modules and items.

    Attributes:
        families: by module_id.
        categories: by item_id; of the items at hand, or of all.
        window_us: how long after its click an event on the same item still belongs to that click's module.
    """

    families: Mapping[str, str]
    categories: Mapping[str, str]
    window_us: int


def fold(state: UserState, events: Iterable[EventRow], known: Known, since_us: int) -> None:
    """Add one user's events, in the order of (ts, event_id), to the user's state, which has those before `since_us`.

    An event is of the module that it names on a page. An intent event or purchase that names none is of the module
    whose click last led to its item, be it before `since_us`.
    """
    clicks: dict[str | None, tuple[int, str]] = {}
    for event in events:
        family = known.families.get(event.module_id or "")
        shown = event.page_id is not None and family is not None
        if event.kind == "click":
            if shown and family and event.item_id is not None:
                clicks[event.item_id] = event.ts, family
        elif not shown:
            clicked, family = clicks.get(event.item_id, (0, None))
            family = family if event.ts - clicked <= known.window_us else None
        if event.ts >= since_us:
            state.add(event.kind, event.ts, family=family, category=known.categories.get(event.item_id or ""))
