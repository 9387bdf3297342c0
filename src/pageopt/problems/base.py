"""What a page problem says of itself. The rest of the package is told which one it serves, and names no columns of it.

A page has raw columns: what its request or log says of it, under the names that prepared pages have.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pageopt.problems.fields import Field

SUBJECT = "hero"
"""What the columns of every problem call that which a page is about."""
UNSEEN = "never seen before"
"""The value of a rare case that no log holds."""


@dataclass(frozen=True)
class Subject:
    """What a page is about: a row of another table.

    Attributes:
        called: what reasons and messages call it.
        table: of the data contract.
        key: the column of it that identifies a row.
        named: the raw column of a page that names the row.
        columns: further raw columns of a page, and the column of the table that each is.
    """

    called: str
    table: str
    key: str
    named: str
    columns: Mapping[str, str]


@dataclass(frozen=True)
class Rare:
    """A case that logs seldom hold and requests do: a raw column has `value` on a `share` of the simulated pages."""

    column: str
    share: float
    value: str | None


@dataclass(frozen=True)
class Problem:
    """One kind of page.

    Attributes:
        name: of the problem.
        fields: what every page of it has for the encoder; declared features and the user's counters come to them.
        subject: what a page is about.
        category: the raw column that holds the category a page is about, for the counters that users have by category.
        rare: cases that simulated pages must hold, in the order in which they are drawn.
        raw: a request to its raw columns, declared features among them.
        request: raw columns, and the names of those that are declared features, to the request that says the same.
    """

    name: str
    fields: tuple[Field, ...]
    subject: Subject
    category: str
    rare: tuple[Rare, ...]
    raw: Callable[[Any], dict[str, Any]]
    request: Callable[[Mapping[str, Any], Iterable[str]], Any]

    @property
    def identity(self) -> tuple[str, ...]:
        """The raw columns that say which page it was, and are no fields."""
        return ("page_id", "user_id", "ts", "policy", self.subject.named)

    @property
    def logged(self) -> tuple[str, ...]:
        """The raw columns by which the data contract's pages say what was asked for."""
        return (*(field.name for field in self.fields if field.source == "page"), self.subject.named)

    def declared(self, fields: Iterable[Field]) -> dict[str, str]:
        """Kinds by name of the declared features among a model's page fields."""
        own = {field.name for field in self.fields}
        return {field.name: field.kind for field in fields if field.source != "counter" and field.name not in own}
