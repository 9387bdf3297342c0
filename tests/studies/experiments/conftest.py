"""A tiny project with one world, made as `pageopt experiment world` makes it."""

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pageopt.studies.experiments import world
from pageopt.workspace import Workspace

ROOT = Path(__file__).parents[3]
SHOP = {"users": 200, "items": 100, "modules": 12, "available": 7, "slots": 3, "propensity_samples": 100}


@pytest.fixture(scope="session")
def tiny_project(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("tiny"))
    content = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    content["collect"]["simulator"] |= SHOP
    content["experiments"] |= {"log_pages": 4000, "judged_pages": 250, "exploration_pages": 1500, "bootstrap": 40}
    content["evaluate"]["reward_model"]["rounds"] = 8
    content["train"] |= {"epochs": 1, "width": 8, "embedding": 4}
    with workspace.params.open("w") as file:
        YAML(typ="safe").dump(content, file)
    (workspace.root / "experiments").mkdir()
    for name in ("models.yaml", "tables.yaml"):
        shutil.copy(ROOT / "experiments" / name, workspace.root / "experiments")
    world.build(workspace, "effects", 1)
    return workspace
