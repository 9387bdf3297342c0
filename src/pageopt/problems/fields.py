"""Names and kinds of the raw columns that describe a page or a module."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

FieldKind = Literal["categorical", "numeric", "text"]
FieldSource = Literal["page", "item", "user", "counter", "module"]


@dataclass(frozen=True)
class Field:
    """One raw column that the encoder reads.

    `source` says where its value comes from: the request or log of the page, what the page is about, the users table,
    the user's decayed counters, or the modules table.
    """

    name: str
    kind: FieldKind
    source: FieldSource

    def to_json(self) -> dict[str, str]:
        """The field as schema.json and encoder.json hold it."""
        return {"name": self.name, "kind": self.kind, "source": self.source}

    @classmethod
    def from_json(cls, content: Mapping[str, str]) -> "Field":
        """Inverse of `to_json`."""
        return cls(content["name"], content["kind"], content["source"])  # type: ignore[arg-type]


def of_kind(fields: tuple[Field, ...], kind: FieldKind) -> tuple[str, ...]:
    """Names of the fields of one kind, in order."""
    return tuple(field.name for field in fields if field.kind == kind)
