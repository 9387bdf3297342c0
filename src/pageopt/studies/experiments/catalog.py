"""The models of the experiments by the names of their cells, and in which variants of the shop they run."""

from itertools import product
from pathlib import Path
from typing import Literal

from pageopt.config import Loss, Section, checked, read
from pageopt.errors import ConfigError

_NETWORKS = ("trnn", "mlp", "transformer")


class Model(Section):
    """What is trained in a cell; the keys are explained in the file itself."""

    title: str
    kind: Literal["static", "random", "segment", "xgboost", "trnn", "mlp", "transformer"]
    ips: bool = False
    pf: bool = False
    losses: tuple[Loss, ...] = ("click", "intent", "attributed")
    loss_weights: Literal["learned", "equal"] = "learned"
    above: Literal["auto", "chosen", "hidden"] = "auto"
    pairs: bool = True
    searches: bool = False

    @property
    def network(self) -> bool:
        """Whether it is a page network."""
        return self.kind in _NETWORKS


def file_of(root: Path) -> Path:
    """Where the models of a project stand."""
    return root / "experiments" / "models.yaml"


def models(root: Path) -> dict[str, Model]:
    """All models by name. Raises ConfigError that names the model and the key."""
    file = file_of(root)
    return {name: checked(Model, values, file, name) for name, values in read(file, "experiments").items()}


def planned(root: Path) -> set[tuple[str, str]]:
    """Variant and model of every cell that experiments/dvc.yaml makes; a cell may lie there that it made once."""
    stages = read(root / "experiments" / "dvc.yaml", "experiments")["stages"]
    cells: set[tuple[str, str]] = set()
    for stage in stages.values():
        what, *of = stage["cmd"].split()[2:]
        if what == "cell":
            (variant, name, _), matrix = of, stage["matrix"]
            cells |= set(product(matrix.get("variant", [variant]), matrix.get("model", [name])))
    return cells


def model(root: Path, name: str) -> Model:
    """The model of that name. Raises ConfigError where there is none."""
    known = models(root)
    if name not in known:
        raise ConfigError(f"There is no model {name!r} in {file_of(root)}; choose one of {', '.join(known)}.")
    return known[name]
