"""The model registry: which candidates were judged, what was said of them, and which version is the champion.

MLflow on SQLite. A candidate is an MLflow run that carries its fingerprint; a model version is made from its bundle
folder (ONNX, JSON, safetensors, SQLite: nothing that is unpickled). All of it can be done again after a kill: runs are
found by fingerprint, versions by run. The one commit point of a release is the move of the alias `champion`.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlparse

from pageopt import telemetry
from pageopt.errors import ReleaseError
from pageopt.workspace import Workspace

telemetry.switch_off()
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")

from mlflow import MlflowClient  # noqa: E402  (reads the variables above when imported)
from mlflow.entities import Run  # noqa: E402
from mlflow.entities.model_registry import ModelVersion  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)

CHAMPION = "champion"
CHALLENGER = "challenger"
PROMOTED = "promoted"
REJECTED = "rejected"
EXPERIMENT = "retrain"
_BUNDLE = "bundle"
_TAG = "pageopt."


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


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _number(text: str | None) -> int | None:
    return int(text) if text else None


class Registry:
    """The registry of one workspace. Made on first use; see `exists`."""

    def __init__(self, workspace: Workspace, model_name: str) -> None:
        self.model_name = model_name
        self._artifacts = workspace.artifacts
        self._database = workspace.state / "mlflow.db"
        workspace.state.mkdir(parents=True, exist_ok=True)
        if not self._database.is_file():
            self._create()
        self._client = MlflowClient(workspace.registry_uri, workspace.registry_uri)

    @staticmethod
    def exists(workspace: Workspace) -> bool:
        """Whether anything was ever registered here."""
        return (workspace.state / "mlflow.db").is_file()

    def _create(self) -> None:
        """Make the database beside its place and move it there: a kill inside the migrations leaves none half made."""
        draft = self._database.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        MlflowClient(f"sqlite:///{draft}", f"sqlite:///{draft}").search_experiments()
        draft.replace(self._database)

    # Candidates: MLflow runs

    def _experiment(self) -> str:
        """The experiment with artifacts in this workspace. Paths in MLflow are absolute: a moved project gets anew."""
        location = self._artifacts.as_uri()
        for name in (EXPERIMENT, f"{EXPERIMENT} in {self._artifacts.parent}"):
            found = self._client.get_experiment_by_name(name)
            if found is None:
                return self._client.create_experiment(name, artifact_location=location)
            if found.artifact_location == location:
                return found.experiment_id
        raise ReleaseError(f"Experiment '{EXPERIMENT}' of {self._database} keeps its artifacts outside {location}.")

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
        experiments = [experiment.experiment_id for experiment in self._client.search_experiments()]
        by_fingerprint = f"tags.`{_TAG}fingerprint` = '{fingerprint}'"
        runs = self._client.search_runs(experiments, by_fingerprint, order_by=["attributes.start_time DESC"])
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
            run = self._client.create_run(self._experiment(), tags=tags, run_name=f"candidate {fingerprint[:8]}")
        return self._candidate(run)

    def describe(self, run_id: str, tags: Mapping[str, str], params: Mapping[str, str]) -> None:
        """Write what the candidate came from into its run. Params of MLflow are written once and then stand."""
        for name, value in tags.items():
            self._client.set_tag(run_id, f"{_TAG}{name}", value)
        known = self._client.get_run(run_id).data.params
        for name, value in params.items():
            if name not in known:
                self._client.log_param(run_id, name, value[:500])

    def log(self, run_id: str, *, files: list[Path], metrics: Mapping[str, float]) -> None:
        """Keep evidence: files as they are now, and numbers."""
        for file in files:
            if file.is_file():
                self._client.log_artifact(run_id, str(file))
        for name, value in metrics.items():
            self._client.log_metric(run_id, name, value)

    def conclude(self, run_id: str, verdict: str, why: str) -> None:
        """Write the verdict; the last thing that a run does. From now on the fingerprint counts as judged."""
        for version in self._versions_of(run_id):
            self._client.set_model_version_tag(self.model_name, str(version.version), f"{_TAG}verdict", verdict)
        self._client.set_tag(run_id, f"{_TAG}why", why[:4000])
        self._client.set_tag(run_id, f"{_TAG}verdict", verdict)
        self._client.set_terminated(run_id, "FINISHED" if verdict == PROMOTED else "FAILED")

    def evidence(self, run_id: str, name: str) -> Path | None:
        """A file that `log` kept."""
        path = self._folder(run_id) / name
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
                deleted.append(version.number)
        return deleted

    # Versions

    def _folder(self, run_id: str) -> Path:
        """The artifacts of a run, also in a project that was moved since."""
        uri = self._client.get_run(run_id).info.artifact_uri
        stored = Path(unquote(urlparse(uri).path))
        return stored if stored.is_dir() else self._artifacts / run_id / "artifacts"

    def _version(self, version: ModelVersion) -> Version:
        return Version(
            int(version.version),
            str(version.run_id),
            version.tags.get(f"{_TAG}fingerprint", ""),
            version.tags.get(f"{_TAG}verdict"),
            version.tags.get(f"{_TAG}bento"),
            _time(version.creation_timestamp),
            self._folder(str(version.run_id)) / _BUNDLE,
        )

    def _versions_of(self, run_id: str) -> list[ModelVersion]:
        return list(self._client.search_model_versions(f"run_id = '{run_id}'"))

    def register(self, candidate: Candidate, bundle: Path, tags: Mapping[str, str]) -> Version:
        """Copy the bundle into the registry as a new version, alias `challenger`. The same run registers once."""
        self._client.log_artifacts(candidate.run_id, str(bundle), _BUNDLE)
        try:
            self._client.create_registered_model(self.model_name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = self._versions_of(candidate.run_id)
        all_tags = {f"{_TAG}{name}": value for name, value in tags.items()}
        version = (
            found[0]
            if found
            else self._client.create_model_version(
                self.model_name,
                f"runs:/{candidate.run_id}/{_BUNDLE}",
                candidate.run_id,
                tags=all_tags | {f"{_TAG}fingerprint": candidate.fingerprint},
            )
        )
        self._client.set_registered_model_alias(self.model_name, CHALLENGER, str(version.version))
        return self._version(version)

    def versions(self) -> list[Version]:
        """All versions, the newest first."""
        found = self._client.search_model_versions(f"name = '{self.model_name}'")
        return sorted((self._version(version) for version in found), key=lambda v: v.number, reverse=True)

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
