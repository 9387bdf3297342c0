"""What is needed of a store of users' features, whatever keeps them."""

from typing import Any, Protocol


class UserStore(Protocol):
    """Features of users by id."""

    def features(self, user_id: str | None, category: str | None) -> dict[str, Any]:
        """Counters and declared columns that a page about `category` gets from its user, by name.

        A user that is unknown, or None, has counters of 0 and no declared values.
        """
        ...
