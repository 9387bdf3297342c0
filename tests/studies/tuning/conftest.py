"""A tiny simulated log, prepared by the stages themselves, in which the test split is missing."""

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pageopt.stages import check, collect, prepare
from pageopt.workspace import Workspace

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def tunable(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("tunable"))
    content = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    content["collect"]["simulator"] |= {
        "pages": 4000, "days": 4, "users": 200, "items": 100, "modules": 16, "available": 8, "slots": 3,
        "propensity_samples": 100,
    }  # fmt: skip
    content["train"] |= {"epochs": 2, "batch_size": 256, "width": 8, "embedding": 4, "threads": 1}
    content["tune"] |= {"trials": 3, "space": {"learning_rate": {"low": 0.001, "high": 0.02, "log": True},
                                               "width": {"choice": [4, 8]}}}  # fmt: skip
    with workspace.params.open("w") as file:
        YAML(typ="safe").dump(content, file)
    for stage in (collect, check, prepare):
        stage.run(workspace)
    shutil.rmtree(workspace.prepared / "test")
    return workspace
