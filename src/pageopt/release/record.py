"""What a run of the flow came to: reports/release.json, and how its reports are published."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from pageopt.artefact import Artefact
from pageopt.errors import ReleaseError
from pageopt.release.gates.verdict import Verdict
from pageopt.workflow.fingerprint import Commit, DataVersion
from pageopt.workflow.repro import Step


class ReleasedModel(msgspec.Struct, frozen=True):
    """The model in the registry; `version` is None where the gates kept it out."""

    name: str
    version: int | None
    run_id: str


class Release(Artefact, frozen=True, kw_only=True):
    """reports/release.json; `data` are the outputs of the stages by path, `params` is all of params.yaml."""

    ERROR = ReleaseError
    MEND = "Release again: make run"

    verdict: Literal["promoted", "rejected"]
    why: str
    gates: list[Verdict]
    model: ReleasedModel
    bento: str | None
    champion_before: int | None
    fingerprint: str
    preset: str
    source: str
    started: str
    seconds: float
    steps: list[Step]
    data: dict[str, DataVersion]
    code: Commit
    params: dict[str, Any]


def publish(files: Iterable[Path], reports: Path) -> None:
    """Copy reports into `reports`, each whole or not at all: a kill leaves the last report as it was."""
    reports.mkdir(parents=True, exist_ok=True)
    for file in files:
        draft = reports / f"{file.name}.draft"
        shutil.copyfile(file, draft)
        draft.replace(reports / file.name)
