"""What a user's events count for when they are read: one rule for every store, and that of `pageopt.features.batch`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pageopt.features.counters import SHOWN, VIEW, Happened, Keys
from pageopt.features.store.base import EventRow, PageRow


@dataclass(frozen=True)
class Known:
    """What the logs know of modules and items, by id: of all modules, and of the items at hand, or all."""

    modules: Mapping[str, Keys]
    items: Mapping[str, Keys]

    def of_events(self, events: Iterable[EventRow]) -> Iterator[Happened]:
        """What events count for: the item and the module that they name."""
        for event in events:
            item, module = self.items.get(event.item_id or "", {}), self.modules.get(event.module_id or "", {})
            yield Happened(event.ts, event.kind, {**item, **module})

    def of_pages(self, pages: Iterable[PageRow]) -> Iterator[Happened]:
        """What pages count for: a view of the item, and each module as shown."""
        for page in pages:
            yield Happened(page.ts, VIEW, self.items.get(page.item_id, {}))
            for module_id in page.module_ids:
                yield Happened(page.ts, SHOWN, self.modules.get(module_id, {}))
