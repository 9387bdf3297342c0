"""Where everything of one project lives. All paths are below its root, the folder that holds dvc.yaml."""

from dataclasses import dataclass
from pathlib import Path

from pageopt.errors import ConfigError


@dataclass(frozen=True)
class Workspace:
    """Paths of one project. Stages read and write only these; effects of flows go below `state`."""

    root: Path

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
    def params(self) -> Path:
        """The numbers of every stage."""
        return self.root / "params.yaml"

    @property
    def raw(self) -> Path:
        """What the source gave (stage collect): one folder a table, and source.json."""
        return self.root / "data" / "raw"

    @property
    def checked(self) -> Path:
        """Rows that keep the contract (stage check): one folder a table, and shape.json."""
        return self.root / "data" / "checked"

    @property
    def quarantine(self) -> Path:
        """Rows that break the contract, each with its reason (stage check)."""
        return self.root / "data" / "quarantine"

    @property
    def prepared(self) -> Path:
        """Pages with features and labels by split, modules, slot bias, encoder, user snapshot (stage prepare)."""
        return self.root / "data" / "prepared"

    @property
    def simulated(self) -> Path:
        """The fixed pool of page contexts (stage simulate-pages)."""
        return self.root / "data" / "simulated"

    @property
    def model(self) -> Path:
        """The trained model (stage train)."""
        return self.root / "models" / "network"

    @property
    def reward_model(self) -> Path:
        """The cross-fitted reward model of the estimators (stage evaluate)."""
        return self.root / "models" / "reward"

    @property
    def bundle(self) -> Path:
        """What the endpoint needs and no more (stage export): graph, encoder, modules, user snapshot."""
        return self.root / "models" / "bundle"

    @property
    def reports(self) -> Path:
        """What people and gates read."""
        return self.root / "reports"

    @property
    def state(self) -> Path:
        """Databases and stores of the flows: registry, Bento store, Prefect, checkpoints, local DVC remote."""
        return self.root / ".pageopt"

    @property
    def checkpoints(self) -> Path:
        """Not an output of DVC, which deletes outputs before a stage runs and would lose an interrupted training."""
        return self.state / "checkpoints"

    @property
    def registry_uri(self) -> str:
        """MLflow's tracking and registry database."""
        return f"sqlite:///{self.state / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        """Files of registered models."""
        return self.state / "artifacts"

    @property
    def bento_home(self) -> Path:
        """The store of built Bentos."""
        return self.state / "bentoml"

    @property
    def prefect_home(self) -> Path:
        """The database of Prefect's own server."""
        return self.state / "prefect"
