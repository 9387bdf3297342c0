"""The tuning flow in a project of its own."""

import shutil
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pageopt.config import TuneParams, load
from pageopt.studies.tuning.space import draw

pytestmark = [pytest.mark.flow, pytest.mark.filterwarnings("ignore")]
REPOSITORY = Path(__file__).parents[2]
PARAMS = {
    "collect.simulator.pages": 4000,
    "collect.simulator.users": 300,
    "collect.simulator.items": 200,
    "collect.simulator.slots": 3,
    "collect.simulator.propensity_samples": 100,
    "train.epochs": 1,
    "train.width": 8,
    "tune.trials": 2,
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory, prefect_api, project_class, init_dvc):
    root = tmp_path_factory.mktemp("tune")
    for name in ("src", "flows"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copyfile(REPOSITORY / name, root / name)
    (root / "data" / "inbox").mkdir(parents=True)
    init_dvc(root)
    project = project_class(root, prefect_api)
    project.set_all(PARAMS)
    return project


def tune(shop) -> str:
    ended = shop.call(sys.executable, "-m", "flows.tune")
    assert ended.code == 0, ended.output
    return ended.output


def begun(output: str) -> list[str]:
    """The trials that a run began."""
    return [line.split(" of ")[0] for line in output.splitlines() if line.startswith("Trial ") and " of " in line]


def test_a_longer_search_runs_the_trials_that_are_missing_and_names_the_best(shop):
    first = tune(shop)
    assert begun(first) == ["Trial 1", "Trial 2"]
    shop.set(tune__trials=3)
    longer = tune(shop)
    assert begun(longer) == ["Trial 3"]
    assert begun(tune(shop)) == []
    snippet = longer.split("Best, for params.yaml:")[1].split("Runs:")[0]
    best = YAML(typ="safe").load(snippet)["train"]
    params = load(shop.root / "params.yaml", TuneParams)
    assert best in [draw(params, number) for number in range(3)]
    assert f"sqlite:///{shop.root / '.pageopt' / 'mlflow.db'}" in longer
    assert "#/experiments/" in longer
