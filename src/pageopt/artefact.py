"""JSON files that one part writes and another reads: each is a type, which reads it and writes it."""

import json
from pathlib import Path
from typing import ClassVar, Self

import msgspec

from pageopt.errors import PageoptError


class Artefact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON file: its fields in their order, what is raised where it cannot be read, and how it is laid out.

    A field that is UNSET is not in the file. Dataclasses inside it are objects of the same fields.
    """

    ERROR: ClassVar[type[PageoptError]]
    MEND: ClassVar[str]  # what to do where the file is missing or broken
    INDENT: ClassVar[int] = 2
    ASCII: ClassVar[bool] = True

    @classmethod
    def read(cls, file: Path) -> Self:
        """What `write` wrote. Raises `ERROR` that names the file, the field that is wrong, and what to do."""
        try:
            return msgspec.json.decode(file.read_bytes(), type=cls)
        except FileNotFoundError:
            raise cls.ERROR(f"{file} is missing. {cls.MEND}") from None
        except (OSError, msgspec.DecodeError) as error:
            raise cls.ERROR(f"{file} cannot be read: {error}. {cls.MEND}") from None

    def write(self, file: Path) -> None:
        """Write the file, and its folder where that is missing."""
        text = json.dumps(msgspec.to_builtins(self), indent=self.INDENT, ensure_ascii=self.ASCII, allow_nan=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
