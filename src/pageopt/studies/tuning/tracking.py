"""Trials in MLflow: one parent run a search, a child run a trial, in the project's own store."""

from collections.abc import Mapping
from dataclasses import dataclass

from pageopt.models.common.record import TrainingRecord
from pageopt.release import mlflow_store
from pageopt.release.mlflow_store import Run
from pageopt.studies.tuning.space import Value
from pageopt.workspace import Workspace

EXPERIMENT = "tune"
SCORE = "relative_validation_loss"
_SEARCH, _TRIAL, _PARENT = "pageopt.search", "pageopt.trial", "mlflow.parentRunId"
_FINISHED, _RUNNING, _KILLED, _FAILED = "FINISHED", "RUNNING", "KILLED", "FAILED"


@dataclass(frozen=True)
class Trial:
    """A trial that is done: its number, values, validation loss over that of constant predictions, and its run."""

    number: int
    values: dict[str, str]
    score: float
    best_epoch: int
    run_id: str


class Tracking:
    """The runs of one search, named by its fingerprint. A search that was begun before is gone on with."""

    def __init__(self, workspace: Workspace, fingerprint: str) -> None:
        self._client = mlflow_store.connect(workspace)
        self.experiment = mlflow_store.experiment(self._client, workspace, EXPERIMENT)
        runs = self._search(f"tags.`{_SEARCH}` = '{fingerprint}'")
        self.parent = (
            runs[0]
            if runs
            else self._client.create_run(
                self.experiment, tags={_SEARCH: fingerprint}, run_name=f"search {fingerprint[:8]}"
            )
        ).info.run_id
        self._client.update_run(self.parent, status=_RUNNING)

    def done(self) -> list[Trial]:
        """The finished trials, by number. Runs of trials that were killed are marked so, and their trials are open."""
        trials: dict[int, Trial] = {}
        for run in self._search(f"tags.`{_PARENT}` = '{self.parent}'"):
            if run.info.status == _FINISHED and SCORE in run.data.metrics:
                trial = _trial(run)
                trials.setdefault(trial.number, trial)
            elif run.info.status == _RUNNING:
                self._client.set_terminated(run.info.run_id, _KILLED)
        return [trials[number] for number in sorted(trials)]

    def begin(self, number: int, values: Mapping[str, Value]) -> str:
        """A run for a trial; returns its id."""
        tags = {_PARENT: self.parent, _TRIAL: str(number)}
        run = self._client.create_run(self.experiment, tags=tags, run_name=f"trial {number}")
        for name, value in values.items():
            self._client.log_param(run.info.run_id, name, value)
        return str(run.info.run_id)

    def finish(self, run_id: str, record: TrainingRecord) -> Trial:
        """Keep what a trial came to; the loss of every epoch is there to look at."""
        for epoch in record.epochs:
            self._client.log_metric(run_id, "relative_validation_loss_by_epoch", epoch.relative, step=epoch.epoch)
        for name, value in record.best.valid.items():
            self._client.log_metric(run_id, f"valid_{name}", value)
        self._client.log_metric(run_id, "best_epoch", record.best.epoch)
        self._client.log_metric(run_id, SCORE, record.best.relative)
        self._client.set_terminated(run_id, _FINISHED)
        return _trial(self._client.get_run(run_id))

    def fail(self, run_id: str) -> None:
        """Mark a trial that ended with an error."""
        self._client.set_terminated(run_id, _FAILED)

    def close(self, best: Trial) -> None:
        """Write the best trial into the parent run."""
        for name, value in best.values.items():
            self._client.set_tag(self.parent, f"best.{name}", value)
        self._client.log_metric(self.parent, SCORE, best.score)
        self._client.set_terminated(self.parent, _FINISHED)

    def _search(self, query: str) -> list[Run]:
        return mlflow_store.runs(self._client, query, "ASC")


def _trial(run: Run) -> Trial:
    metrics = run.data.metrics
    number = int(run.data.tags[_TRIAL])
    return Trial(number, dict(run.data.params), metrics[SCORE], int(metrics["best_epoch"]), run.info.run_id)
