import pytest
from mlflow import MlflowClient

from pageopt.models.common.record import Epoch, TrainingRecord
from pageopt.studies.tuning.tracking import SCORE, Tracking
from pageopt.workspace import Workspace

# MLflow 3.17 maps its tables with an option that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


def record(*relative: float) -> TrainingRecord:
    epochs = [
        Epoch(n, {"click": 1.0}, {"click": loss}, loss, {"click": 1.0}, way="chosen", otherwise=None)
        for n, loss in enumerate(relative, 1)
    ]
    return TrainingRecord({"click": 1.0}, epochs)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("tracked"))


def test_a_search_that_was_ended_goes_on_with_the_trials_that_are_missing(workspace):
    first = Tracking(workspace, "abc123")
    for number, losses in ((0, (0.9, 0.8)), (1, (0.95, 0.97))):
        first.finish(first.begin(number, {"width": 8 * (number + 1)}), record(*losses))
    killed = first.begin(2, {"width": 64})

    again = Tracking(workspace, "abc123")
    assert again.parent == first.parent
    trials = again.done()
    assert [(trial.number, trial.score, trial.best_epoch) for trial in trials] == [(0, 0.8, 2), (1, 0.95, 1)]
    assert trials[1].values == {"width": "16"}
    client = MlflowClient(workspace.registry_uri)
    assert client.get_run(killed).info.status == "KILLED"
    again.close(trials[0])
    parent = client.get_run(first.parent)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics[SCORE] == 0.8
    assert parent.data.tags["best.width"] == "8"
    children = client.search_runs([again.experiment], f"tags.`mlflow.parentRunId` = '{first.parent}'")
    assert len(children) == 3


def test_another_search_has_runs_of_its_own_and_a_failed_trial_is_open(workspace):
    other = Tracking(workspace, "other")
    assert other.done() == []
    other.fail(other.begin(0, {"width": 8}))
    assert Tracking(workspace, "other").done() == []


def test_every_epoch_can_be_looked_at(workspace):
    tracking = Tracking(workspace, "epochs")
    trial = tracking.finish(tracking.begin(0, {"width": 8}), record(0.9, 0.7, 0.8))
    history = MlflowClient(workspace.registry_uri).get_metric_history(trial.run_id, "relative_validation_loss_by_epoch")
    assert [(each.step, each.value) for each in history] == [(1, 0.9), (2, 0.7), (3, 0.8)]
    assert trial.best_epoch == 2
