"""What every source of logs gives: the tables of the contract below a folder, and a report about them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class SourceReport:
    """What a source wrote; goes to data/raw/source.json.

    `rows` counts rows by table, `first_ts` and `last_ts` are the ISO times (UTC) of the first and last page, and
    `notes` holds what else a reader of the results should know, such as the policies that logged or the paper to cite.
    """

    source: str
    rows: dict[str, int]
    first_ts: str
    last_ts: str
    notes: dict[str, object]


class Source(Protocol):
    """Something that can write logs in the contract's form."""

    def collect(self, target: Path) -> SourceReport:
        """Write each table to `target/<table>/*.parquet`. Raises SourceError that says what to do."""
        ...
