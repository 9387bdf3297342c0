"""The flow of the experiments in a project of its own: two seeds, three models, shops of a few thousand pages."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

pytestmark = [pytest.mark.flow, pytest.mark.filterwarnings("ignore")]

REPOSITORY = Path(__file__).parents[2]
SEEDS = (1, 2)
MODELS = {"baselines": ["static", "xgboost"], "networks": ["trnn_ips"]}
STAGES = 2 + 2 + 4 + 2  # worlds, exploration, baselines, networks
PARAMS = {
    "experiments.seeds": list(SEEDS),
    "experiments.log_pages": 4000,
    "experiments.judged_pages": 300,
    "experiments.exploration_pages": 2000,
    "experiments.bootstrap": 50,
    "collect.simulator.users": 300,
    "collect.simulator.items": 200,
    "collect.simulator.modules": 20,
    "collect.simulator.available": 10,
    "collect.simulator.slots": 3,
    "collect.simulator.propensity_samples": 200,
    "prepare.encoder.vocabulary": 500,
    "evaluate.reward_model.rounds": 10,
    "train.epochs": 1,
    "train.batch_size": 128,
}
PLAN = {
    "questions": [
        {"ask": "What share does TRNN capture?", "share": {"model": "trnn_ips"}, "demand": 0.7},
        {"ask": "TRNN against XGBoost", "model": "trnn_ips", "against": {"model": "xgboost"}, "demand": "more"},
    ],
    "tables": [
        {
            "id": "offline",
            "title": "Offline: architectures",
            "against": {"model": "xgboost"},
            "rows": [{"model": "trnn_ips", "paper": {"auc": 4.58, "ctr_dr": 15.78}}, {"model": "static"}],
        },
        {
            "id": "online",
            "title": "Online: A/B tests",
            "online": True,
            "rows": [
                {"model": "trnn_ips", "against": {"model": "static"}, "paper": {"ctr_online": 2.4}},
                {"policy": "thompson", "title": "Thompson", "against": {"policy": "random", "title": "random"}},
            ],
        },
    ],
}


def edit(path: Path, change) -> None:
    editor = YAML()
    content = editor.load(path)
    change(content)
    editor.dump(content, path)


def fewer_stages(content) -> None:
    content["stages"]["world"]["matrix"]["variant"] = ["effects"]
    for name in [name for name in content["stages"] if name not in ("world", "exploration", *MODELS)]:
        del content["stages"][name]
    for name, models in MODELS.items():
        content["stages"][name]["matrix"]["model"] = models


@pytest.fixture(scope="module")
def lab(tmp_path_factory, prefect_api, project_class, init_dvc):
    root = tmp_path_factory.mktemp("lab")
    ignore = shutil.ignore_patterns("__pycache__", "worlds", "cells", "exploration", "dvc.lock")
    for name in ("src", "flows", "experiments"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=ignore)
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore"):
        shutil.copyfile(REPOSITORY / name, root / name)
    init_dvc(root)
    edit(root / "experiments" / "dvc.yaml", fewer_stages)
    with (root / "experiments" / "tables.yaml").open("w") as file:
        YAML().dump(PLAN, file)
    project = project_class(root, prefect_api)
    project.set_all(PARAMS)
    return project


def run(lab) -> str:
    ended = lab.call(sys.executable, "-m", "flows.experiments")
    assert ended.code == 0, ended.output
    return ended.output


def ran(output: str) -> int:
    """How many worlds and cells a run says that it made."""
    line = next(line for line in output.splitlines() if "were run anew" in line)
    done, of = line.split()[0], line.split()[2]
    assert int(of) == STAGES
    return int(done)


def figures(lab) -> dict:
    return json.loads((lab.root / "reports" / "experiments.json").read_text())


@pytest.fixture(scope="module")
def killed(lab) -> list[str]:
    """The worlds and cells that were made when the first run was killed: all worlds, and a cell."""
    lock = lab.root / "experiments" / "dvc.lock"

    def made() -> list[str]:
        return re.findall(r"^  (\w+@\S+):$", lock.read_text(), re.MULTILINE) if lock.is_file() else []

    lab.kill_when(lambda *_: any(stage.split("@")[0] in MODELS for stage in made()), 480, "flows.experiments")
    return made()


@pytest.fixture(scope="module")
def resumed(lab, killed) -> tuple[int, dict, list[str]]:
    """How many worlds and cells the run after the kill makes, its figures, and the processes that are left."""
    return ran(run(lab)), figures(lab), lab.left_over()


@pytest.fixture(scope="module")
def first(resumed) -> dict:
    """The figures of the first run that came to its end."""
    return resumed[1]


@pytest.fixture(scope="module")
def second(lab, first) -> tuple[int, dict]:
    """How many cells a run without a change makes, and its figures."""
    return ran(run(lab)), figures(lab)


@pytest.fixture(scope="module")
def with_another_dropout(lab, second) -> tuple[int, dict]:
    lab.set(train__dropout=0.11)
    return ran(run(lab)), figures(lab)


def test_a_killed_run_goes_on(killed, resumed):
    made, _, left_over = resumed
    assert {stage.split("@")[0] for stage in killed} >= {"world", "exploration"}
    assert 0 < made <= STAGES - len(killed) < sum(map(len, MODELS.values())) * len(SEEDS)
    assert left_over == []


def test_the_report_holds_what_its_cells_found(lab, first):
    cells = {(cell["name"], cell["seed"]): cell for cell in first["cells"]}
    assert set(cells) == {(name, seed) for names in MODELS.values() for name in names for seed in SEEDS}
    offline, online = first["tables"]
    row = offline["rows"][0]
    for metric in ("true_ctr", "true_ptr"):
        ours, theirs = (sum(cells[name, seed][metric] for seed in SEEDS) for name in ("trnn_ips", "xgboost"))
        assert row["metrics"][metric]["lift"]["value"] == pytest.approx(ours / theirs - 1, rel=1e-9)
    assert row["metrics"]["ctr_dr"]["paper"] == 15.78
    assert row["metrics"]["ctr_dr"]["word"] in ("agrees", "disagrees", "undecided")
    assert offline["rows"][1]["metrics"]["ctr_dr"]["word"] is None
    for tested in online["rows"]:
        assert tested["test"]["ctr"]["lift"]["low"] < tested["test"]["ctr"]["lift"]["high"]
        assert sum(tested["test"]["ctr"]["lift"]["users_by_arm"]) == tested["test"]["users"]
    for model in first["models"]["effects"].values():
        assert model["true_ctr"]["value"] > model["true_ptr"]["value"] > 0
    static = first["models"]["effects"]["static"]
    assert static["share_ctr"]["value"] == 0
    assert [asked["question"] for asked in first["questions"]] == [entry["ask"] for entry in PLAN["questions"]]
    page = (lab.root / "reports" / "experiments.html").read_text()
    assert page.count("<svg") >= 6
    assert "http" not in page.replace("http-equiv", "")


def test_a_second_run_has_nothing_to_do(first, second):
    assert second == (0, first)


def test_a_param_of_the_networks_runs_their_cells_alone(first, with_another_dropout):
    made, now = with_another_dropout
    assert made == len(SEEDS)
    changed = {cell["name"] for cell, was in zip(now["cells"], first["cells"], strict=True) if cell != was}
    assert changed == {"trnn_ips"}
    assert now["settings"]["seconds"] != first["settings"]["seconds"]
