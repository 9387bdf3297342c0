"""What the state of the modules above is worth, on logs of the shop: something with page effects, nothing without."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from pageopt.config import SearchParams
from pageopt.evaluation.estimate import UserBootstrap
from pageopt.features.encoder import Encoder
from pageopt.features.pages import Pages, load_pages
from pageopt.models.item.network import load_network
from pageopt.search.graph import PageGraph, decide
from pageopt.simulator import truth
from pageopt.stages import check, collect, prepare, train
from pageopt.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
SEEDS = (1, 2)
SHOP = {
    "pages": 12_000,
    "users": 600,
    "items": 400,
    "categories": 4,
    "modules": 24,
    "families": 6,
    "slots": 6,
    "available": 12,
    "traffic": {"random": 1.0, "thompson": 0.0, "production": 0.0},
}


def _prepared(root: Path, law: str) -> Workspace:
    editor = YAML()
    params = editor.load(REPOSITORY / "params.yaml")
    params["collect"]["simulator"].update(SHOP, page_effects=law)
    params["prepare"]["split"].update(train=0.6, valid=0.1, test=0.3)
    params["prepare"]["sampling"]["no_interaction_rate"] = 1.0
    params["train"].update(losses=["click"], threads=1, width=32, embedding=16, batch_size=256, epochs=6)
    root.mkdir()
    editor.dump(params, root / "params.yaml")
    workspace = Workspace(root)
    collect.run(workspace)
    check.run(workspace)
    prepare.run(workspace)
    return workspace


def _trained(workspace: Workspace, above: str, seed: int):
    editor = YAML()
    params = editor.load(workspace.params)
    params["train"].update(above=above, seed=seed)
    editor.dump(params, workspace.params)
    train.run(workspace)
    assert json.loads((workspace.reports / "train.json").read_text())["above"] == above
    return load_network(workspace.model)


def _surprise(model, pages: Pages, click: np.ndarray) -> np.ndarray:
    """Expected cross-entropy of each page `[P]`, against the true click probabilities of the shown modules."""
    encoded = pages.encoded
    with torch.inference_mode():
        logits = model(
            torch.from_numpy(encoded.categorical),
            torch.from_numpy(encoded.numeric),
            torch.from_numpy(encoded.tokens),
            torch.from_numpy(pages.module),
        )[..., 0].double()
    return (np.logaddexp(0, logits.numpy()) - click * logits.numpy()).sum(axis=1)


@pytest.mark.parametrize("law", ["content", "none"])
def test_seeing_the_modules_above_pays_with_page_effects_and_only_then(tmp_path: Path, law: str) -> None:
    workspace = _prepared(tmp_path / "shop", law)
    encoder = Encoder.load(workspace.prepared / "encoder")
    test = load_pages(workspace.prepared / "test", encoder)
    assert (test.module >= 0).all()
    shown, _ = truth.expected(workspace.raw, test.page_id, test.module)
    gains, clicks = [], []
    for seed in SEEDS:
        models = {above: _trained(workspace, above, seed) for above in ("chosen", "hidden")}
        surprise = {above: _surprise(model, test, shown) for above, model in models.items()}
        gains.append(surprise["hidden"] - surprise["chosen"])
        earned = {}
        for above, model in models.items():
            pages = decide(
                PageGraph(model, SearchParams(width=3, beam_start=1, objective="click")), test.encoded, test.candidates
            )
            earned[above] = truth.expected(workspace.raw, test.page_id, pages.modules)[0].sum(axis=1)
        clicks.append(earned["chosen"] - earned["hidden"])
    gain = UserBootstrap(len(test), test.user_id, confidence=0.99).mean(np.mean(gains, axis=0))
    by_seed = np.array([each.mean() for each in clicks])
    # The spread of the CTR between trainings is part of chance, so its error is that over seeds.
    error = by_seed.std(ddof=1) / np.sqrt(len(SEEDS))
    if law != "none":
        assert gain.low > 0
    else:
        assert gain.low <= 0
        assert by_seed.mean() <= 2 * error
