"""What every source of logs gives: the tables of the contract below a folder, and a report about them."""

from pathlib import Path
from typing import Protocol

from pageopt.artefact import Artefact
from pageopt.errors import SourceError


class SourceReport(Artefact, frozen=True, kw_only=True):
    """data/raw/source.json, what a source wrote; each source adds what else a reader of the results should know.

    `rows` counts rows by table, `first_ts` and `last_ts` are the ISO times (UTC) of the first and last page.
    """

    ERROR = SourceError
    MEND = "Collect again: dvc repro collect"

    source: str
    rows: dict[str, int]
    first_ts: str
    last_ts: str


class Source(Protocol):
    """Something that can write logs in the contract's form."""

    def collect(self, target: Path) -> SourceReport:
        """Write each table to `target/<table>/*.parquet`. Raises SourceError that says what to do."""
        ...
