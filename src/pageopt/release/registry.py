"""The model registry: which candidates were judged, what was said of them, and which version is the champion.

A candidate is an MLflow run that carries its fingerprint; a version is a model that MLflow itself can load and run (see
`pageopt.release.logged_model`). All of it can be done again after a kill: runs are found by fingerprint, versions by
run, and what is written twice is the same. The one commit point of a release is the move of the alias `champion`.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlparse

from pageopt.release import mlflow_store  # isort: skip  (before MLflow, whose telemetry it switches off)
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pageopt.errors import ReleaseError
from pageopt.release import logged_model
from pageopt.workspace import Workspace

CHAMPION = "champion"
CHALLENGER = "challenger"
PROMOTED: Final = "promoted"
REJECTED: Final = "rejected"
EXPERIMENT = "retrain"
_TAG = "pageopt."
_GAIN = "quality/CTR over the static page"  # as `model_card.figures` calls it
_BATCH = 100  # MLflow takes no more params at once, and of more metrics fails to see which a model has already
_NOTE = "mlflow.note.content"  # MLflow's page of a run or model shows it as its description
_ABOUT = (
    "Decides which recommendation modules a page shows. Alias `champion`: what users see. Alias `challenger`: the last "
    "candidate that passed the gates before its Bento was tried. A row of the input is the `page` of a request to "
    "`/rank_page`, a row of the output the endpoint's answer."
)


@dataclass(frozen=True)
class DataSet:
    """A part of the data: what it was used for, its folder and pages, and the digest of the DVC output it lies in."""

    name: str
    context: str
    folder: str
    pages: int
    digest: str


@dataclass(frozen=True)
class Figure:
    """A number: of an epoch, `step` from 1; or of the model on a part of the data; or measured, another each time."""

    name: str
    value: float
    step: int = 0
    data: DataSet | None = None


@dataclass(frozen=True)
class Candidate:
    """A judged, or still to be judged, candidate: `verdict` is promoted, rejected, or null while it is open."""

    run_id: str
    fingerprint: str
    verdict: str | None
    why: str | None
    created: datetime
    champion_before: int | None


@dataclass(frozen=True)
class Version:
    """A registered model version and the folder of its bundle."""

    number: int
    run_id: str
    fingerprint: str
    verdict: str | None
    bento: str | None
    created: datetime
    folder: Path

    def as_json(self) -> dict[str, Any]:
        """The content of release.json, which stands beside a bundle and says which version it is."""
        return {"model": {"version": self.number, "run_id": self.run_id}, "fingerprint": self.fingerprint}


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _number(text: str | None) -> int | None:
    return int(text) if text else None


def _model_id(version: ModelVersion) -> str:
    """The logged model that a version was made from."""
    return str(version.source).removeprefix("models:/")


class Registry:
    """The registry of one workspace. Made on first use; see `exists`."""

    exists = staticmethod(mlflow_store.exists)

    def __init__(self, workspace: Workspace, model_name: str) -> None:
        self.model_name = model_name
        self._workspace = workspace
        self._client = mlflow_store.connect(workspace)

    # Candidates: MLflow runs

    def _candidate(self, run: Run) -> Candidate:
        tags = run.data.tags
        return Candidate(
            run.info.run_id,
            tags[f"{_TAG}fingerprint"],
            tags.get(f"{_TAG}verdict"),
            tags.get(f"{_TAG}why"),
            _time(run.info.start_time),
            _number(tags.get(f"{_TAG}champion_before")),
        )

    def _run(self, fingerprint: str) -> Run | None:
        runs = mlflow_store.runs(self._client, f"tags.`{_TAG}fingerprint` = '{fingerprint}'", "DESC")
        return runs[0] if runs else None

    def find(self, fingerprint: str) -> Candidate | None:
        """The last candidate of this fingerprint."""
        run = self._run(fingerprint)
        return self._candidate(run) if run else None

    def open(self, fingerprint: str, *, again: bool = False) -> Candidate:
        """The candidate of this fingerprint that has no verdict yet (of a killed run), else a new one.

        With `again` a candidate that has its verdict gets a new run beside it.
        """
        run = self._run(fingerprint)
        if run is None or (again and f"{_TAG}verdict" in run.data.tags):
            tags = {f"{_TAG}fingerprint": fingerprint}
            experiment = mlflow_store.experiment(self._client, self._workspace, EXPERIMENT)
            run = self._client.create_run(experiment, tags=tags, run_name=f"candidate {fingerprint[:8]}")
        return self._candidate(run)

    def describe(
        self, run_id: str, tags: Mapping[str, str], params: Mapping[str, str], data: Sequence[DataSet] = ()
    ) -> None:
        """Write what the candidate came from into its run. Params of MLflow are written once and then stand."""
        known = self._client.get_run(run_id).data.params
        new = [Param(name, value) for name, value in params.items() if name not in known]
        for start in range(0, len(new), _BATCH):
            self._client.log_batch(run_id, params=new[start : start + _BATCH])
        for name, value in tags.items():
            self._client.set_tag(run_id, f"{_TAG}{name}", value)
        inputs = [
            DatasetInput(
                Dataset(
                    part.name,
                    part.digest,
                    "local",
                    json.dumps({"uri": part.folder}),
                    profile=json.dumps({"num_rows": part.pages}),
                ),
                [InputTag("mlflow.data.context", part.context)],
            )
            for part in data
        ]
        self._client.log_inputs(run_id, inputs)

    def log(self, run_id: str, *, files: Sequence[Path], figures: Sequence[Figure], note: str) -> None:
        """Keep evidence of a run and of its version, if it has one: files as they are now, figures, a description."""
        for file in files:
            if file.is_file():
                self._client.log_artifact(run_id, str(file))
        versions = self._versions_of(run_id)
        model_id = _model_id(versions[0]) if versions else None
        begun, now = self._client.get_run(run_id).info.start_time, time.time_ns() // 1_000_000
        metrics = [
            # The same when it is logged again, after a kill: the same time makes it the same metric.
            Metric(figure.name, figure.value, begun, 0, model_id, figure.data.name, figure.data.digest)
            if figure.data
            else Metric(figure.name, figure.value, begun if figure.step else now, figure.step)
            for figure in figures
        ]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(run_id, metrics[start : start + _BATCH])
        self._client.set_tag(run_id, _NOTE, note)
        for version in versions:
            self._client.update_model_version(self.model_name, version.version, note)
            self._client.set_logged_model_tags(_model_id(version), {_NOTE: note})

    def conclude(self, run_id: str, verdict: str, why: str) -> None:
        """Write the verdict; the last thing that a run does. From now on the fingerprint counts as judged."""
        for version in self._versions_of(run_id):
            self._client.set_model_version_tag(self.model_name, str(version.version), f"{_TAG}verdict", verdict)
        self._client.set_tag(run_id, f"{_TAG}why", why[:4000])
        self._client.set_tag(run_id, f"{_TAG}verdict", verdict)
        self._client.set_terminated(run_id, "FINISHED" if verdict == PROMOTED else "FAILED")

    def evidence(self, run_id: str, name: str) -> Path | None:
        """A file that `log` kept."""
        stored = Path(unquote(urlparse(self._client.get_run(run_id).info.artifact_uri).path))
        folder = stored if stored.is_dir() else self._workspace.artifacts / run_id / "artifacts"
        path = folder / name
        return path if path.is_file() else None

    def sweep(self, fingerprint: str) -> list[int]:
        """Settle what killed runs of other fingerprints left open, and return the versions that were deleted.

        A version without a verdict was never promoted, unless it is the champion: then only its verdict is missing.
        """
        champion = self.champion()
        deleted = []
        for version in self.versions():
            if version.verdict is not None or version.fingerprint == fingerprint:
                continue
            if champion and version.number == champion.number:
                self.conclude(version.run_id, PROMOTED, "the run was ended after the promotion")
            else:
                self._client.delete_model_version(self.model_name, str(version.number))
                logged_model.forget(self._client, version.run_id)
                deleted.append(version.number)
        return deleted

    # Versions

    def _version(self, version: ModelVersion) -> Version:
        return Version(
            int(version.version),
            str(version.run_id),
            version.tags.get(f"{_TAG}fingerprint", ""),
            version.tags.get(f"{_TAG}verdict"),
            version.tags.get(f"{_TAG}bento"),
            _time(version.creation_timestamp),
            logged_model.bundle_of(self._client, _model_id(version), self._workspace.artifacts),
        )

    def _versions_of(self, run_id: str) -> list[ModelVersion]:
        return list(self._client.search_model_versions(f"run_id = '{run_id}'"))

    def register(self, candidate: Candidate, bundle: Path, page: Mapping[str, Any]) -> Version:
        """Copy the bundle into the registry as a new version, alias `challenger`. The same run registers once.

        `page` of a request to /rank_page is the version's example.
        """
        known = self._versions_of(candidate.run_id)
        stored = known[0] if known else self._create(candidate, bundle, page)
        version = self._version(stored)
        logged_model.number(self._client, _model_id(stored), self.model_name, version.number, version.as_json())
        self._client.set_registered_model_alias(self.model_name, CHALLENGER, str(version.number))
        return version

    def _create(self, candidate: Candidate, bundle: Path, page: Mapping[str, Any]) -> ModelVersion:
        logged_model.forget(self._client, candidate.run_id)  # what an attempt that was killed has left
        model_id = logged_model.log(self._client, candidate.run_id, self.model_name, bundle, page)
        try:
            self._client.create_registered_model(self.model_name, description=_ABOUT)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = {f"{_TAG}fingerprint": candidate.fingerprint}
        return self._client.create_model_version(
            self.model_name, f"models:/{model_id}", candidate.run_id, tags=tags, model_id=model_id
        )

    def versions(self) -> list[Version]:
        """All versions, the newest first."""
        versions = self._client.search_model_versions(f"name = '{self.model_name}'")
        return sorted((self._version(version) for version in versions), key=lambda v: v.number, reverse=True)

    def version(self, number: int) -> Version:
        """Version `number`. Raises ReleaseError that lists the versions there are."""
        versions = self.versions()
        for version in versions:
            if version.number == number:
                return version
        known = ", ".join(str(version.number) for version in versions) or "none"
        raise ReleaseError(f"There is no version {number} of {self.model_name}; registered: {known}.")

    def champion(self) -> Version | None:
        """The version that users see."""
        try:
            return self._version(self._client.get_model_version_by_alias(self.model_name, CHAMPION))
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def best(self, days: int) -> Version | None:
        """Of the versions promoted in the last `days` days the one that was surest to gain clicks over the static page.

        By the lower bound that its quality gate judged; None where no version has one.
        """
        since = datetime.now(UTC) - timedelta(days=days)
        promoted = [each for each in self.versions() if each.verdict == PROMOTED and each.created >= since]
        gains = {each: self._client.get_run(each.run_id).data.metrics.get(_GAIN) for each in promoted}
        known = {version: gain for version, gain in gains.items() if gain is not None}
        return max(known, key=lambda version: known[version], default=None)

    def set_bento(self, version: Version, bento: str) -> None:
        """Note the tag of the version's Bento."""
        self._client.set_model_version_tag(self.model_name, str(version.number), f"{_TAG}bento", bento)

    def promote(self, version: Version, *, over: int | None) -> None:
        """Move `champion` to `version`: the commit point. `over` is the champion that it was judged against.

        Raises ReleaseError if another version has become champion meanwhile.
        """
        champion = self.champion()
        now = champion.number if champion else None
        if now not in (over, version.number):
            raise ReleaseError(
                f"Version {version.number} was judged against champion {over or 'none'}, but version {now} is champion "
                "by now (a rollback during this run?). Nothing was promoted; run again to compare with it: make run"
            )
        self._client.set_registered_model_alias(self.model_name, CHAMPION, str(version.number))

    def promoted(self, number: int) -> Version:
        """Version `number`, which users had before. Raises ReleaseError if it was never promoted."""
        version = self.version(number)
        if version.verdict != PROMOTED:
            promoted = ", ".join(str(v.number) for v in self.versions() if v.verdict == PROMOTED)
            raise ReleaseError(
                f"Version {number} was never promoted (verdict: {version.verdict or 'none'}); a rollback goes to one "
                f"that was: {promoted or 'there is none'}"
            )
        return version

    def rollback(self, number: int) -> tuple[Version | None, Version]:
        """Make version `number`, promoted before, the champion. Returns champions before and after.

        Takes no lock: an emergency need not wait for a training. A run under way notices when it wants to promote.
        """
        version = self.promoted(number)
        before = self.champion()
        self._client.set_registered_model_alias(self.model_name, CHAMPION, str(number))
        return before, version
