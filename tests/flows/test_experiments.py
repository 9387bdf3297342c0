"""The flow of the experiments in a project of its own: two seeds, a shop of a few thousand pages with four models."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

pytestmark = [pytest.mark.flow, pytest.mark.filterwarnings("ignore")]

REPOSITORY = Path(__file__).parents[2]
SEEDS = [1, 2]
MODELS = ["static_true", "known", "xgboost", "trnn_ips"]
STAGES = 2 + 2  # shops, exploration
PARAMS = {
    "experiments.log_pages": 4000,
    "experiments.judged_pages": 300,
    "experiments.exploration_pages": 2000,
    "experiments.bootstrap": 50,
    "collect.simulator.pages": 4000,
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
SHOPS = {"tables": {"title": "A town", "seeds": "tables", "estimates": True, "models": MODELS}}
ASKED = {
    "questions": [
        {"ask": "What share does TRNN reach?", "shop": "tables", "share": "trnn_ips", "demand": 0.7},
        {"ask": "TRNN / XGBoost", "shop": "tables", "model": "trnn_ips", "against": "xgboost", "demand": "more"},
    ],
    "curves": [
        {
            "id": "curve",
            "title": "TRNN over XGBoost",
            "x": "shop",
            "shops": {"a": "tables", "b": "tables"},
            "lines": [{"title": "TRNN", "model": "trnn_ips", "against": "xgboost"}],
        }
    ],
}
TABLES = {
    "tables": [
        {
            "id": "offline",
            "title": "Offline: architectures",
            "against": {"model": "xgboost"},
            "rows": [{"model": "trnn_ips", "paper": {"auc": 4.58, "ctr_dr": 15.78}}, {"model": "static_true"}],
        },
        {
            "id": "online",
            "title": "Online: A/B tests",
            "online": True,
            "rows": [
                {"model": "trnn_ips", "against": {"model": "static_true"}, "paper": {"ctr_online": 2.4}},
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
    for name in [name for name in content["stages"] if name not in ("tables", "exploration")]:
        del content["stages"][name]


@pytest.fixture(scope="module")
def lab(tmp_path_factory, prefect_api, project_class, init_dvc):
    root = tmp_path_factory.mktemp("lab")
    ignore = shutil.ignore_patterns("__pycache__", "worlds", "cells", "exploration", "dvc.lock")
    for name in ("src", "flows", "experiments"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=ignore)
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore"):
        shutil.copyfile(REPOSITORY / name, root / name)
    init_dvc(root)
    for name, content in (("shops", SHOPS), ("questions", ASKED), ("tables", TABLES)):
        with (root / "experiments" / f"{name}.yaml").open("w") as file:
            YAML().dump(content, file)
    edit(root / "experiments" / "dvc.yaml", fewer_stages)
    edit(root / "params.yaml", lambda params: params["experiments"].update(seeds={"tables": SEEDS}))
    project = project_class(root, prefect_api)
    project.set_all(PARAMS)
    return project


def run(lab) -> str:
    ended = lab.call(sys.executable, "-m", "flows.experiments")
    assert ended.code == 0, ended.output
    return ended.output


def ran(output: str) -> int:
    """How many shops and exploration runs a run says that it made."""
    line = next(line for line in output.splitlines() if "were run anew" in line)
    done, of = line.split()[0], line.split()[2]
    assert int(of) == STAGES
    return int(done)


def figures(lab) -> dict:
    return json.loads((lab.root / "reports" / "experiments.json").read_text())


@pytest.fixture(scope="module")
def killed(lab) -> list[str]:
    """What was made when the first run was killed: something, not all."""
    lock = lab.root / "experiments" / "dvc.lock"

    def made() -> list[str]:
        return re.findall(r"^  (\w+@\S+):$", lock.read_text(), re.MULTILINE) if lock.is_file() else []

    lab.kill_when(lambda *_: bool(made()), 480, "flows.experiments")
    return made()


@pytest.fixture(scope="module")
def resumed(lab, killed) -> tuple[int, dict, list[str]]:
    """How many shops the run after the kill makes, its figures, and the processes that are left."""
    return ran(run(lab)), figures(lab), lab.left_over()


@pytest.fixture(scope="module")
def first(resumed) -> dict:
    """The figures of the first run that came to its end."""
    return resumed[1]


@pytest.fixture(scope="module")
def second(lab, first) -> tuple[int, dict]:
    """How many shops a run without a change makes, and its figures."""
    return ran(run(lab)), figures(lab)


@pytest.fixture(scope="module")
def with_other_steps(lab, second) -> tuple[int, dict]:
    lab.set(train__learning_rate=0.002)
    return ran(run(lab)), figures(lab)


def test_a_killed_run_goes_on(killed, resumed):
    made, _, left_over = resumed
    assert killed
    assert made == STAGES - len(killed)
    assert left_over == []


def test_the_report_holds_what_its_cells_found(lab, first):
    cells = {(cell["name"], cell["seed"]): cell for cell in first["cells"]}
    assert set(cells) == {(name, seed) for name in ("xgboost", "trnn_ips") for seed in SEEDS}
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
    models = first["models"]["tables"]
    assert list(models) == MODELS
    for model in models.values():
        assert model["true_ctr"]["value"] > model["true_ptr"]["value"] > 0
    assert models["trnn_ips"]["share"]["value"] < 1
    assert models["known"]["share"] is None
    share, gain = first["questions"]
    assert share["figure"] == models["trnn_ips"]["share"]
    assert gain["figure"] == row["metrics"]["true_ptr"]["lift"] == first["curves"][0]["lines"][0]["points"][1]["figure"]
    page = (lab.root / "reports" / "experiments.html").read_text()
    assert page.count("<svg") >= 6
    assert "http" not in page.replace("http-equiv", "")


def test_a_second_run_has_nothing_to_do(first, second):
    assert second == (0, first)


def test_a_param_of_the_networks_runs_their_shops_alone(first, with_other_steps):
    made, now = with_other_steps
    assert made == len(SEEDS)
    changed = {
        cell["name"]
        for cell, was in zip(now["cells"], first["cells"], strict=True)
        if cell["true_ctr"] != was["true_ctr"]
    }
    assert changed == {"trnn_ips"}
    assert now["settings"]["seconds"] != first["settings"]["seconds"]
