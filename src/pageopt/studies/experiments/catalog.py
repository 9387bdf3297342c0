"""The models of the experiments by the names of their cells, and in which variants of the shop they run."""

from itertools import product
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML

from pageopt.config import Loss
from pageopt.errors import ConfigError

_NETWORKS = ("trnn", "mlp", "transformer")


class Model(BaseModel):
    """What is trained in a cell; the keys are explained in the file itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    kind: Literal["static", "random", "segment", "xgboost", "trnn", "mlp", "transformer"]
    ips: bool = False
    pf: bool = False
    losses: tuple[Loss, ...] = ("click", "intent", "attributed")
    loss_weights: Literal["learned", "equal"] = "learned"
    above: Literal["auto", "chosen", "hidden"] = "auto"
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
    try:
        content = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file} is missing. Take it from the repository: git checkout -- experiments") from None
    checked = {}
    for name, values in content.items():
        try:
            checked[name] = Model.model_validate(values)
        except ValidationError as error:
            what = "; ".join(f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in error.errors())
            raise ConfigError(f"Model {name!r} of {file} cannot be used: {what}") from None
    return checked


def planned(root: Path) -> set[tuple[str, str]]:
    """Variant and model of every cell that experiments/dvc.yaml makes; a cell may lie there that it made once."""
    stages = YAML(typ="safe").load((root / "experiments" / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
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
