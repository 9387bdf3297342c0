"""What stage prepare says of its data: schema.json beside it, and reports/prepare.json."""

from typing import Literal

from pageopt.artefact import Artefact
from pageopt.errors import ContractError
from pageopt.features.counters import CounterLayout
from pageopt.problems.fields import Field

_MEND = "Run stage prepare again: dvc repro prepare"
BySplit = dict[str, int]


class Schema(Artefact, frozen=True):
    """data/prepared/schema.json: what the pages hold. `observed` is "single" where a page shows one slot of several."""

    ERROR = ContractError
    MEND = _MEND
    INDENT = 1
    ASCII = False

    slots: int
    families: tuple[str, ...]
    modules: int
    observed: Literal["pages", "single"]
    has_purchase: bool
    has_intent: bool
    fields: tuple[Field, ...]
    module_fields: tuple[Field, ...]
    pages: BySplit
    clicks: BySplit
    counters: CounterLayout


class PrepareReport(Artefact, frozen=True):
    """reports/prepare.json: numbers of rows, curves, rates, notes. No clock times are in it.

    `traffic` is what was logged, before sampling: split, policy, and pages, clicks and purchases. `events` are by kind,
    with how many of them belong to an impression. `examination` is by kind of event and slot.
    """

    ERROR = ContractError
    MEND = _MEND
    INDENT = 1
    ASCII = False

    pages: BySplit
    clicks: BySplit
    intents: BySplit
    purchases: BySplit
    traffic: dict[str, dict[str, dict[str, int]]]
    events: dict[str, dict[str, int]]
    kept_rate: dict[str, float]
    examination: dict[str, list[float]]
    users: int
    fields: int
    notes: list[str]
