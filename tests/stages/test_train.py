"""Stage train on prepared files that are written here, so that only train itself is tried."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from pageopt.errors import TrainingError
from pageopt.features.counters import CounterLayout
from pageopt.features.encoder import Encoder
from pageopt.features.prepared import Schema
from pageopt.features.slot_bias import SlotBias
from pageopt.models.common.record import Epoch
from pageopt.models.item.network import load_network
from pageopt.problems.fields import Field
from pageopt.stages import train
from pageopt.workspace import Workspace

ROOT = Path(__file__).parents[2]
SLOTS, FAMILIES = 3, ("a", "b", "c")
FIELDS = (Field("platform", "categorical", "page"), Field("hero_price", "numeric", "item"))
MODULES = {
    "module_id": [f"m{number:02}" for number in range(9)],
    "family": [FAMILIES[number % 3] for number in range(9)],
}


def _write_split(folder: Path, count: int, seed: int, observed: str, purchases: bool) -> dict[str, list]:
    random = np.random.default_rng(seed)
    module = random.random((count, 9)).argsort(1)[:, :SLOTS].astype(np.int32)
    if observed == "single":
        module[np.arange(SLOTS) != random.integers(0, SLOTS, count)[:, None]] = -1
    shown = module >= 0
    click = (shown & (random.random(module.shape) < np.where(module % 4 == 0, 0.4, 0.05))).astype(np.float32)
    bought = click * (random.random(click.shape) < 0.3) * purchases
    columns = {
        "page_id": [f"{seed}-{row}" for row in range(count)],
        "user_id": pa.nulls(count, pa.string()),
        "ts": pa.array(np.arange(count), pa.timestamp("us", "UTC")),
        "policy": ["random"] * count,
        "platform": random.choice(["app", "web"], count).tolist(),
        "hero_price": random.lognormal(3, 1, count),
        "module": list(module),
        "propensity": [[np.nan] * SLOTS] * count,
        "click": list(click),
        "intent": list(np.zeros_like(click)),
        "purchase": list(bought.astype(np.float32)),
        "attributed": list((bought / 2).astype(np.float32)),
        "weight": np.ones(count, dtype=np.float32),
    }
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "part-0.parquet")
    return columns


@pytest.fixture
def make_workspace(tmp_path):
    """A project with prepared files; `changes` go into section train of params.yaml."""

    def make(name="project", observed="pages", purchases=True, **changes) -> Workspace:
        root = tmp_path / name
        root.mkdir()
        yaml = YAML()
        params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        small = {"threads": 1, "epochs": 3, "batch_size": 256, "width": 8, "embedding": 4, "learning_rate": 0.01}
        params["train"].update(small | changes)
        with (root / "params.yaml").open("w", encoding="utf-8") as file:
            yaml.dump(params, file)
        (root / "dvc.yaml").touch()
        workspace = Workspace(root)
        pages = _write_split(workspace.prepared / "train", 1500, 1, observed, purchases)
        _write_split(workspace.prepared / "valid", 400, 2, observed, purchases)
        encoder = Encoder.fit(
            FIELDS,
            {name: pages[name] for name in ("platform", "hero_price")},
            (Field("family", "categorical", "module"),),
            MODULES,
            slots=SLOTS,
            min_count=1,
            title_tokens=4,
            vocabulary=10,
        )
        encoder.save(workspace.prepared / "encoder")
        Schema(
            slots=SLOTS,
            families=FAMILIES,
            modules=len(MODULES["module_id"]),
            observed=observed,
            has_purchase=purchases,
            has_intent=True,
            fields=encoder.page_fields,
            module_fields=encoder.module_fields,
            pages={},
            clicks={},
            counters=CounterLayout((), (), ()),
        ).write(workspace.prepared / "schema.json")
        theta = {"all": [1.0, 0.5, 0.01], "app": [1.0, 0.8, 0.4]}
        SlotBias(SLOTS, ["app"], theta, theta, views={}).write(workspace.prepared / "slot_bias.json")
        return workspace

    return make


def _report(workspace):
    return json.loads((workspace.reports / "train.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("architecture", "above"), [("trnn", "chosen"), ("mlp", "hidden"), ("mlp", "chosen"), ("transformer", "chosen")]
)
def test_writes_a_model_a_report_and_a_curve(make_workspace, capsys, architecture, above):
    workspace = make_workspace(architecture=architecture, above=above)
    train.run(workspace)
    model = load_network(workspace.model)
    assert (model.config.architecture, model.config.above) == (architecture, above)
    assert model.config.losses == ("click", "purchase")
    report = _report(workspace)
    assert report["architecture"] == architecture
    assert report["dropped_losses"] == ["intent"]
    assert report["pages"] == {"train": 1500, "valid": 400}
    assert report["epochs"][report["best_epoch"] - 1]["relative"] < 1
    assert report["parameters"] == sum(value.numel() for value in model.parameters())
    with (workspace.reports / "plots" / "training.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [epoch["epoch"] for epoch in report["epochs"]]
    assert float(rows[0]["relative"]) == report["epochs"][0]["relative"]
    out = capsys.readouterr().out
    assert "Left out intent" in out
    assert f"Trained {architecture} on 1,500 pages" in out
    assert not workspace.checkpoints.exists()


def test_same_pages_same_files(make_workspace):
    files = ("models/network/model.safetensors", "models/network/model.json", "reports/train.json")
    contents = []
    for name in ("one", "other"):
        workspace = make_workspace(name)
        train.run(workspace)
        contents.append([(workspace.root / file).read_bytes() for file in files])
    assert contents[0] == contents[1]


def test_single_slots_teach_nothing_of_modules_above(make_workspace):
    workspace = make_workspace(observed="single")
    train.run(workspace)
    assert load_network(workspace.model).config.above == "hidden"


def test_logs_without_purchases_train_the_rest(make_workspace):
    workspace = make_workspace(purchases=False)
    train.run(workspace)
    assert load_network(workspace.model).config.trained_heads == ("click",)
    assert _report(workspace)["dropped_losses"] == ["intent", "purchase"]


def test_nothing_to_learn_from_is_said(make_workspace):
    with pytest.raises(TrainingError, match=r"None of train\.losses \['attributed'\]"):
        train.run(make_workspace(purchases=False, losses=["attributed"]))


def test_slot_weights_change_the_model(make_workspace):
    weighed = []
    for slot_ips in (True, False):
        workspace = make_workspace(str(slot_ips), slot_ips=slot_ips)
        train.run(workspace)
        weighed.append(_report(workspace)["constant_losses"]["click"])
    assert weighed[0] != weighed[1]


def test_killed_stage_starts_again_and_gives_the_same_bytes(make_workspace):
    whole, killed = (make_workspace(name, epochs=25, patience=25) for name in ("whole", "killed"))
    train.run(whole)
    command = [sys.executable, "-c", "from pageopt.cli import app; app()", "train"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}

    def start():
        return subprocess.Popen(command, cwd=killed.root, env=environment, stdout=subprocess.DEVNULL)

    process = start()
    deadline = time.monotonic() + 120
    while not list(killed.checkpoints.glob("*.safetensors")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "training ended before it could be killed"
    assert not killed.model.exists()
    assert start().wait() == 0
    for file in ("models/network/model.safetensors", "reports/train.json", "reports/plots/training.csv"):
        assert (killed.root / file).read_bytes() == (whole.root / file).read_bytes()


@pytest.mark.parametrize(("way", "told", "other"), [("chosen", "seen", "hidden"), ("hidden", "hidden", "seen")])
def test_says_why_the_modules_above_are_seen_or_hidden(way, told, other):
    best = Epoch(2, {}, {}, relative=0.79, factors={}, way=way, otherwise=0.81)
    assert train._choice(best) == (
        f"The modules above a slot are {told}, as the validation split chose: "
        f"0.7900 of the base rate's loss, 0.8100 where they are {other}."
    )
    assert train._choice(replace(best, otherwise=None)) is None
