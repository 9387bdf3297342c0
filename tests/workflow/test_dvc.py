"""DVC by its own commands, in a clone at the smallest scale: two commits whose models differ in width."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pageopt.config import ReleaseParams, apply, load
from pageopt.workflow import repro

pytestmark = pytest.mark.flow
ROOT = Path(__file__).parents[2]
CLONED = ("src", ".dvc/plots", ".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "data/inbox", "dvc.yaml")
SMALLEST = """
collect:
  simulator: {pages: 4000, days: 2, users: 600, items: 100, modules: 10, families: 4, slots: 3, available: 7}
prepare: {sampling: {no_interaction_rate: 1.0}, split: {train: 0.5, valid: 0.1, test: 0.4}}
train: {epochs: 2, batch_size: 256, width: 16, embedding: 8}
evaluate: {bootstrap: 50, reward_model: {rounds: 10}}
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """Stage evaluate and all above it were run and committed; then an experiment with half the width, and committed."""
    root = tmp_path_factory.mktemp("clone")
    for name in (*CLONED, "params.yaml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, root / name)
    (root / "smallest.yaml").write_text(SMALLEST)
    apply(root / "params.yaml", root / "smallest.yaml")
    git(root, "init", "-q")
    git(root, "config", "user.name", "test")
    git(root, "config", "user.email", "test@example.com")
    repro.dvc(root, "repro", "evaluate")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "wide")
    repro.dvc(root, "exp", "run", "-S", "train.width=8", "-n", "narrow", "evaluate")
    git(root, "commit", "-qam", "narrow")
    return root


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


def test_metrics_diff_tells_the_few_numbers_that_models_are_compared_by(clone: Path):
    changed = json.loads(repro.dvc(clone, "metrics", "diff", "HEAD~1", "HEAD", "--json"))
    numbers = {name: change for metrics in changed.values() for name, change in metrics.items()}
    assert {"ctr", "ctr_gain", "ctr_gain_low", "ctr_gain_high", "auc", "true_ctr", "relative_loss"} <= set(numbers)
    assert all(change["diff"] == pytest.approx(change["new"] - change["old"]) for change in numbers.values())
    known = json.loads(repro.dvc(clone, "metrics", "show", "--json"))[""]["data"]
    assert sum(len(file["data"]) for file in known.values()) <= 20


def test_the_metrics_are_those_of_the_reports(clone: Path):
    reports = clone / "reports"
    told = {path.stem: json.loads(path.read_text()) for path in (reports / "metrics").iterdir()}
    full = {name: json.loads((reports / f"{name}.json").read_text()) for name in ("check", "prepare", "evaluation")}
    model, static = full["evaluation"]["models"]["trnn"], full["evaluation"]["models"]["static"]
    gain = full["evaluation"]["differences"]["trnn - static"]["ptr_page_dr_relative"]
    assert told["check"] == {"pages": 4000, "bad_share": full["check"]["bad_share"]}
    assert told["prepare"] == {"clicks": sum(full["prepare"]["clicks"].values())}
    evaluated = told["evaluate"]
    assert (evaluated["ctr"], evaluated["ctr_static"]) == (
        model["ctr_page_dr"]["value"],
        static["ctr_page_dr"]["value"],
    )
    assert [evaluated[f"ptr_gain{end}"] for end in ("", "_low", "_high")] == [*map(gain.get, ("value", "low", "high"))]
    assert evaluated["true_ptr"] == model["true_ptr"]["value"]
    epochs = json.loads((reports / "train.json").read_text())["epochs"]
    best = min(epochs, key=lambda epoch: epoch["relative"])
    assert told["train"] == {"relative_loss": best["relative"], "best_epoch": best["epoch"]}


def test_an_experiment_is_compared_with_what_it_came_from(clone: Path):
    told = json.loads(repro.dvc(clone, "exp", "diff", "HEAD~1", "narrow", "--json"))
    assert told["params"]["params.yaml"]["train.width"] == {"old": 16, "new": 8, "diff": -8}
    assert "ctr" in told["metrics"]["reports/metrics/evaluate.json"]


def test_plots_of_two_commits_share_axes_on_which_every_mark_has_a_place(clone: Path):
    shown = json.loads(repro.dvc(clone, "plots", "diff", "HEAD~1", "HEAD", "--json"))["data"]
    plots = {Path(name).stem: each[0]["content"] for name, each in shown.items()}
    assert set(plots) == {"training", "estimates", "calibration"}
    for plot in plots.values():
        rows = plot["data"]["values"]
        assert {row["rev"] for row in rows} == {"HEAD~1", "HEAD"}
        assert "<DVC" not in json.dumps(plot)
        for encoding in encodings(plot):
            field = encoding.get("field", "what")  # made by the plot itself
            assert field == "what" or all(field in row for row in rows)
            if encoding.get("type") == "quantitative":
                assert all(math.isfinite(float(row[field])) for row in rows if row[field] != "")


def encodings(node: object) -> list[dict]:
    """Every encoding of a field in a plot."""
    if isinstance(node, list):
        return [each for item in node for each in encodings(item)]
    if not isinstance(node, dict):
        return []
    here = [each for each in node.get("encoding", {}).values() if "field" in each]
    return here + [each for key, item in node.items() if key != "data" for each in encodings(item)]


def test_nothing_is_stale_and_the_tree_is_clean_after_it(clone: Path):
    assert set(repro.stale(clone)) == {"simulate-pages"}  # never asked for
    assert git(clone, "status", "--porcelain") == ""


def test_the_model_is_an_artifact_and_the_output_of_a_stage():
    content = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
    (name, model), *_ = content["artifacts"].items()
    assert name == load(ROOT / "params.yaml", ReleaseParams).model_name
    assert model["path"] in content["stages"]["export"]["outs"]
