"""MLflow's database and files below .pageopt, for all that keeps runs there: releases, and searches for params."""

import logging
import os

from pageopt import telemetry
from pageopt.errors import ReleaseError
from pageopt.workspace import Workspace

telemetry.switch_off()
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
# Else every model takes a copy of the lock of whatever project the process stands in.
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")

from mlflow import MlflowClient, set_tracking_uri  # noqa: E402  (reads the variables above when imported)
from mlflow.entities import Run  # noqa: E402

for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def exists(workspace: Workspace) -> bool:
    """Whether anything was ever kept here."""
    return (workspace.state / "mlflow.db").is_file()


def connect(workspace: Workspace) -> MlflowClient:
    """A client of the workspace's database, which is made on first use.

    It is made beside its place and moved there: a kill inside the migrations leaves none half made.
    """
    database = workspace.state / "mlflow.db"
    if not exists(workspace):
        workspace.state.mkdir(parents=True, exist_ok=True)
        draft = database.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        MlflowClient(f"sqlite:///{draft}", f"sqlite:///{draft}").search_experiments()
        draft.replace(database)
    # MLflow looks up the source of a version, models:/…, in the store of the process and not in that of the client.
    set_tracking_uri(workspace.registry_uri)
    return MlflowClient(workspace.registry_uri, workspace.registry_uri)


def experiment(client: MlflowClient, workspace: Workspace, name: str) -> str:
    """The id of the experiment `name` with artifacts in this workspace. Paths are absolute: a moved project gets anew.

    Raises ReleaseError where its artifacts lie elsewhere all the same.
    """
    location = workspace.artifacts.as_uri()
    for each in (name, f"{name} in {workspace.artifacts.parent}"):
        known = client.get_experiment_by_name(each)
        if known is None:
            return str(client.create_experiment(each, artifact_location=location))
        if known.artifact_location == location:
            return str(known.experiment_id)
    raise ReleaseError(f"Experiment '{name}' in {workspace.registry_uri} keeps its artifacts outside {location}.")


def runs(client: MlflowClient, query: str, order: str) -> list[Run]:
    """Runs of all experiments, those from before a move too."""
    everywhere = [each.experiment_id for each in client.search_experiments()]
    return list(client.search_runs(everywhere, query, order_by=[f"attributes.start_time {order}"]))
