"""A tiny project with one shop that was run, as `pageopt experiment shop` runs it."""

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pageopt.studies.experiments import shop
from pageopt.workspace import Workspace

ROOT = Path(__file__).parents[3]
SHOP = {"users": 200, "items": 100, "modules": 12, "available": 7, "slots": 3, "propensity_samples": 100, "pages": 4000}
MODELS = {
    "static_true": {"title": "Static", "kind": "static_true"},
    "known": {"title": "Bayes", "kind": "known"},
    "static": {"title": "Counted", "kind": "static"},
    "segment": {"title": "Segment", "kind": "segment"},
    "trees": {"title": "Trees", "kind": "xgboost", "pf": True},
    "mlp": {"title": "MLP", "kind": "mlp", "pairs": False, "ips": True},
    "trnn": {"title": "TRNN", "kind": "trnn", "pf": True, "searches": True, "above": "chosen"},
    "impersonal": {"title": "TRNN, no users", "kind": "trnn", "above": "chosen"},
    "strangers": {"title": "TRNN, strangers", "kind": "trnn", "pf": "strangers", "above": "chosen"},
    "clicks": {"title": "TRNN (Lc)", "kind": "trnn", "losses": ["click"]},
    "blind": {"title": "Blind", "kind": "mlp", "slot_blind": True, "ips": "inverted"},
}
PLANS = {
    "town": {
        "title": "A town",
        "seeds": "default",
        "estimates": True,
        "changed": {"collect.simulator.page_effects": "family"},
        "models": list(MODELS),
    },
    "village": {"title": "A village", "seeds": "default", "pages": 0.5, "models": ["static_true", "known"]},
}


@pytest.fixture(scope="session")
def tiny_project(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("tiny"))
    content = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    content["collect"]["simulator"] |= SHOP
    content["experiments"] |= {"log_pages": 4000, "judged_pages": 250, "exploration_pages": 1500, "bootstrap": 40}
    content["experiments"]["seeds"] = {"default": [1, 2], "tables": [1, 2]}
    content["evaluate"]["reward_model"]["rounds"] = 8
    content["train"] |= {"epochs": 1, "width": 8, "embedding": 4}
    _write(workspace.params, content)
    (workspace.root / "experiments").mkdir()
    _write(workspace.root / "experiments" / "models.yaml", MODELS)
    _write(workspace.root / "experiments" / "shops.yaml", PLANS)
    for name in ("questions.yaml", "tables.yaml"):
        shutil.copy(ROOT / "experiments" / name, workspace.root / "experiments")
    shop.run(workspace, "town", 1)
    return workspace


def _write(file: Path, content: dict) -> None:
    with file.open("w") as out:
        YAML(typ="safe").dump(content, out)
