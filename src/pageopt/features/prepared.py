"""What stage prepare says of its data: schema.json and the modules' CTR beside it, and reports/prepare.json."""

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pageopt.artefact import Artefact
from pageopt.errors import ContractError
from pageopt.features.counters import CounterLayout
from pageopt.features.encoder import Encoder
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
    with how many of them belong to an impression. `uncredited` are shares of the logged purchases: those whose own
    module has attributed label 0 (zero_label), and those that belong to no impression (untraced). `examination` is by
    kind of event and slot.
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
    uncredited: dict[str, float | None]
    kept_rate: dict[str, float]
    examination: dict[str, list[float]]
    users: int
    fields: int
    notes: list[str]


def module_ctr(prepared: Path, encoder: Encoder) -> NDArray[np.float64]:
    """The smoothed CTR `[M]` of the encoder's modules. Raises ContractError where modules.parquet lists others."""
    table = pq.read_table(prepared / "modules.parquet", columns=["module_id", "ctr"])
    if tuple(table["module_id"].to_pylist()) != encoder.module_ids:
        raise ContractError(f"{prepared / 'modules.parquet'} lists other modules than the encoder beside it. {_MEND}")
    return table["ctr"].to_numpy()
