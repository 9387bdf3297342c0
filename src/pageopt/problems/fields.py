"""Names and kinds of the raw columns that describe a page or a module."""

from dataclasses import dataclass
from typing import Literal

FieldKind = Literal["categorical", "numeric", "text"]
FieldSource = Literal["page", "item", "user", "counter", "module"]


@dataclass(frozen=True)
class Field:
    """One raw column that the encoder reads.

    `source` says where its value comes from: the request or log of the page, what the page is about, the users table,
    the user's decayed counters, or the modules table. A page's column about modules of one kind alone names the column
    `by` of the modules table that tells them, and the value `key` that they have there.
    """

    name: str
    kind: FieldKind
    source: FieldSource
    by: str = ""
    key: str = ""


def of_kind(fields: tuple[Field, ...], kind: FieldKind) -> tuple[str, ...]:
    """Names of the fields of one kind, in order."""
    return tuple(field.name for field in fields if field.kind == kind)
