"""What is needed of a store of users' features, whatever keeps them."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

AS_IT_STANDS = 0
"""A time before that of any snapshot: as of it users are as their snapshot has them, today and in a year."""


class EventRow(NamedTuple):
    """A row of the contract's table events. `ts` and `received` (0: not known) are microseconds since 1970 UTC."""

    event_id: str
    ts: int
    user_id: str | None
    kind: str
    page_id: str | None = None
    module_id: str | None = None
    slot: int | None = None
    item_id: str | None = None
    price: float | None = None
    received: int = 0


class PageRow(NamedTuple):
    """A page that was shown: `ts` in microseconds since 1970 UTC, the item it is about, modules from top to bottom."""

    page_id: str
    ts: int
    user_id: str | None
    item_id: str
    module_ids: tuple[str, ...]


class UserReader(Protocol):
    """Features of users by id."""

    def features(self, user_id: str | None, category: str | None, at_us: int) -> dict[str, Any]:
        """Counters and declared columns that a page about `category` gets from its user at a time, by name.

        Counters hold what happened strictly before `at_us`, microseconds since 1970 UTC, and have faded until then.
        They know nothing before the time that they are kept at: as of an earlier one they read as they stand. A user
        that is unknown, or None, has counters of 0 and no declared values.
        """
        ...


class UserStore(UserReader, Protocol):
    """Features that know what happened a moment ago."""

    def fold(self, events: Iterable[EventRow]) -> int:
        """Count events, each `event_id` once, and return how many were new.

        They may come late, in any order and again: the features are the same. An event counts by what its module and
        item are, where they are known, as it does in stage prepare, and not at all without a user. Raises StoreError
        where nothing was kept.
        """
        ...

    def see(self, pages: Iterable[PageRow]) -> int:
        """Count pages as looked at, and their modules as shown, each `page_id` once; otherwise as `fold`."""
        ...
