"""What stage check says of a log: shape.json beside the checked tables, and reports/check.json."""

from pageopt.artefact import Artefact
from pageopt.errors import ContractError


class Shape(Artefact, frozen=True):
    """data/checked/shape.json: slots of a page, rows by table, and ISO times in UTC (None: no row has one)."""

    ERROR = ContractError
    MEND = "Run stage check first: dvc repro check"

    slots: int
    rows: dict[str, int]
    first_page_ts: str | None
    last_page_ts: str | None
    last_event_ts: str | None


class CheckReport(Artefact, frozen=True):
    """reports/check.json, by table: good rows, bad rows by reason, and columns that nobody declared.

    `bad_share` is quarantined rows as a share of all rows, over all tables.
    """

    ERROR = ContractError
    MEND = Shape.MEND

    rows: dict[str, int]
    quarantined: dict[str, dict[str, int]]
    bad_share: float
    ignored_columns: dict[str, list[str]]
