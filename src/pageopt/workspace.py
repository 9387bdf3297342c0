"""Where everything of one project lives. All paths are below its root, the folder that holds dvc.yaml."""

from dataclasses import dataclass
from pathlib import Path

from pageopt.errors import ConfigError


class _Below:
    """A path below the root of a workspace."""

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __get__(self, workspace: "Workspace", owner: type) -> Path:
        return workspace.root.joinpath(*self._parts)


@dataclass(frozen=True)
class Workspace:
    """Paths of one project. Stages read and write only these; effects of flows go below `state`."""

    root: Path

    params = _Below("params.yaml")
    """The numbers of every stage."""
    raw = _Below("data", "raw")
    """What the source gave (stage collect): one folder a table, and source.json."""
    checked = _Below("data", "checked")
    """Rows that keep the contract (stage check): one folder a table, and shape.json."""
    quarantine = _Below("data", "quarantine")
    """Rows that break the contract, each with its reason (stage check)."""
    prepared = _Below("data", "prepared")
    """Pages with features and labels by split, modules, slot bias, encoder, user snapshot (stage prepare)."""
    simulated = _Below("data", "simulated")
    """The fixed pool of page contexts (stage simulate-pages)."""
    model = _Below("models", "network")
    """The trained model (stage train)."""
    reward_model = _Below("models", "reward")
    """The cross-fitted reward model of the estimators (stage evaluate)."""
    bundle = _Below("models", "bundle")
    """What the endpoint needs and no more (stage export): graph, encoder, modules, user snapshot."""
    reports = _Below("reports")
    """What people and gates read."""
    state = _Below(".pageopt")
    """Databases and stores of the flows: registry, Bento store, Prefect, checkpoints, local DVC remote."""
    checkpoints = _Below(".pageopt", "checkpoints")
    """Not an output of DVC, which deletes outputs before a stage runs and would lose an interrupted training."""
    artifacts = _Below(".pageopt", "artifacts")
    """Files of registered models."""
    bento_home = _Below(".pageopt", "bentoml")
    """The store of built Bentos."""
    prefect_home = _Below(".pageopt", "prefect")
    """The database of Prefect's own server."""

    @classmethod
    def find(cls, start: Path | None = None) -> "Workspace":
        """The workspace that holds `start` (default: the current folder). Raises ConfigError where there is none."""
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / "dvc.yaml").is_file() and (folder / "params.yaml").is_file():
                return cls(folder)
        raise ConfigError(
            f"No dvc.yaml and params.yaml in {here} or above it. Run this inside a pageopt project, "
            "for example in a clone of the repository."
        )

    @property
    def registry_uri(self) -> str:
        """MLflow's tracking and registry database."""
        return f"sqlite:///{self.state / 'mlflow.db'}"
