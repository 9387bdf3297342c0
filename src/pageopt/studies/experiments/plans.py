"""The shops of the experiments by name: what differs from params.yaml, and which models are trained there."""

from pathlib import Path
from typing import Any

from pydantic import Field

from pageopt.config import Section, checked, read
from pageopt.errors import ConfigError

FOLDER = "experiments"


class ShopPlan(Section):
    """A shop; the keys are explained in the file itself."""

    title: str
    seeds: str
    models: tuple[str, ...] = Field(min_length=2)
    pages: float = Field(gt=0, default=1.0)
    changed: dict[str, Any] = Field(default={})
    estimates: bool = False


def file_of(root: Path) -> Path:
    """Where the shops of a project stand."""
    return root / FOLDER / "shops.yaml"


def shops(root: Path) -> dict[str, ShopPlan]:
    """All shops by name. Raises ConfigError that names the shop and the key."""
    file = file_of(root)
    plans = {name: of for name, of in read(file, FOLDER).items() if not name.startswith("_")}
    return {name: checked(ShopPlan, values, file, name) for name, values in plans.items()}


def shop(root: Path, name: str) -> ShopPlan:
    """The shop of that name. Raises ConfigError where there is none."""
    known = shops(root)
    if name not in known:
        raise ConfigError(f"There is no shop {name!r} in {file_of(root)}; choose one of {', '.join(known)}.")
    return known[name]
