"""The models of the experiments by the names of their cells."""

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from pageopt.config import Loss, Section, checked, read
from pageopt.errors import ConfigError
from pageopt.simulator.knowable import History
from pageopt.studies.experiments.plans import FOLDER

STATIC, KNOWN = "static_true", "known"
"""The ends of the knowable uplift: the static page by true worth, and the Bayes page over all that the log shows."""
_NETWORKS = ("trnn", "mlp", "transformer")


class Model(Section):
    """What decides the pages of a cell; the keys are explained in the file itself."""

    title: str
    kind: Literal["static_true", "known", "static", "random", "segment", "xgboost", "trnn", "mlp", "transformer"]
    history: History = "all"
    page_effects: bool = True
    exact_taste: bool = False
    ips: bool | Literal["inverted", "labels"] = False
    pf: bool | Literal["strangers"] = False
    slot_blind: bool = False
    losses: tuple[Loss, ...] = ("click", "intent", "attributed")
    loss_weights: Literal["learned", "equal"] = "learned"
    above: Literal["auto", "chosen", "hidden"] = "auto"
    pairs: bool = True
    searches: bool = False

    @model_validator(mode="after")
    def _only_networks_are_slot_blind(self) -> "Model":
        if self.slot_blind and not self.network:
            raise ValueError(f"slot_blind is for networks, not for {self.kind}")
        if self.ips == "labels" and not self.slot_blind:
            raise ValueError("ips on labels is for networks that are slot_blind")
        return self

    @property
    def network(self) -> bool:
        """Whether it is a page network."""
        return self.kind in _NETWORKS

    @property
    def learns(self) -> bool:
        """Whether it learns from the log; the others know the true model."""
        return self.kind not in (STATIC, KNOWN)


def file_of(root: Path) -> Path:
    """Where the models of a project stand."""
    return root / FOLDER / "models.yaml"


def models(root: Path) -> dict[str, Model]:
    """All models by name. Raises ConfigError that names the model and the key."""
    file = file_of(root)
    return {name: checked(Model, values, file, name) for name, values in read(file, FOLDER).items()}


def model(root: Path, name: str) -> Model:
    """The model of that name. Raises ConfigError where there is none."""
    known = models(root)
    if name not in known:
        raise ConfigError(f"There is no model {name!r} in {file_of(root)}; choose one of {', '.join(known)}.")
    return known[name]
