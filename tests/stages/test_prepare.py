"""Stage prepare on what the simulator and stage check give."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from pageopt.errors import ContractError
from pageopt.features.encoder import Encoder
from pageopt.features.pages import load_pages
from pageopt.features.prepared import PrepareReport, Schema
from pageopt.features.slot_bias import SlotBias
from pageopt.features.store.snapshot import UserSnapshot
from pageopt.stages import check, collect, prepare
from pageopt.workspace import Workspace

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "valid", "test")


def workspace_at(folder: Path) -> Workspace:
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text())
    params["collect"]["source"] = "simulator"
    shop = {"pages": 2500, "users": 300, "items": 200, "modules": 24, "families": 6, "slots": 5, "available": 10}
    params["collect"]["simulator"].update(shop, propensity_samples=100)
    split = {"train": 0.7, "valid": 0.1, "test": 0.2}
    traffic = {"random": 0.4, "thompson": 0.4, "production": 0.2}
    params["collect"]["simulator"].update(traffic=traffic)
    params["prepare"].update(threads=1, memory_limit="512MB", split=split)
    with (folder / "params.yaml").open("w") as file:
        yaml.dump(params, file)
    (folder / "dvc.yaml").touch()
    return Workspace(folder)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    workspace = workspace_at(tmp_path_factory.mktemp("shop"))
    for stage in (collect, check, prepare):
        stage.run(workspace)
    return workspace


def test_what_later_stages_read(workspace) -> None:
    schema = Schema.read(workspace.prepared / "schema.json")
    encoder = Encoder.load(workspace.prepared / "encoder")
    assert (schema.slots, schema.modules, encoder.slots) == (5, 24, 5)
    assert encoder.families == schema.families
    assert len(UserSnapshot(workspace.prepared / "users.sqlite")) > 100
    shares = [schema.pages[split] for split in ("valid", "test")]
    assert shares == [250, 500]
    for split in SPLITS:
        pages = load_pages(workspace.prepared / split, encoder)
        assert len(pages) == schema.pages[split]
        assert int(pages.click.sum()) == schema.clicks[split] > 0
        assert pages.observed.all()
        assert (pages.propensity > 0).all()
        assert (pages.attributed <= pages.click).all()
        assert (pages.attributed >= pages.click * pages.purchase).all()
        assert (pages.purchase.sum(), pages.intent.sum()) > (0, 0)


def test_the_model_of_slots_is_found(workspace) -> None:
    """The simulator's users look less and less down the page."""
    theta = np.array(SlotBias.read(workspace.prepared / "slot_bias.json").click["all"])
    assert theta[0] == 1
    assert theta[-1] < 0.8


def test_only_late_checkouts_of_nobody_credit_no_module(workspace) -> None:
    events = pq.read_table(workspace.checked / "events").to_pylist()
    bought = [event for event in events if event["kind"] == "purchase"]
    lost = [event for event in bought if event["user_id"] is None and event["page_id"] is None]
    report = PrepareReport.read(workspace.reports / "prepare.json")
    assert report.uncredited == {"zero_label": 0, "untraced": pytest.approx(len(lost) / len(bought))}


def test_the_report_has_no_clock(workspace) -> None:
    text = (workspace.reports / "prepare.json").read_text()
    report = json.loads(text)
    assert report["pages"]["train"] > 1000
    assert report["traffic"]["train"].keys() == {"random", "thompson", "production"}
    assert report["events"]["click"]["on_impressions"] == report["events"]["click"]["logged"]
    assert "seconds" not in text
    assert not (workspace.state / "scratch" / "prepare").exists()


def test_without_stage_check(tmp_path) -> None:
    with pytest.raises(ContractError, match="Run stage check"):
        prepare.run(workspace_at(tmp_path))
