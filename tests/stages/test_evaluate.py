"""The stage on a simulated log; the prepared files are written here, so that only evaluate itself is tried."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copy, copytree

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pageopt.config import SearchParams, ShopParams, TrainParams, load
from pageopt.engine.page_engine import PageEngine
from pageopt.errors import EvaluationError
from pageopt.evaluation.compare import LoggedPages
from pageopt.evaluation.reward_model import RewardModel
from pageopt.features.counters import CounterLayout
from pageopt.features.encoder import Encoder
from pageopt.features.pages import load_pages
from pageopt.features.prepared import module_ctr
from pageopt.features.store.snapshot import write_snapshot
from pageopt.models.item.network import PageNetwork, above_mode
from pageopt.policies.static import static_order, static_pages
from pageopt.problems.fields import Field
from pageopt.release.export import write_bundle
from pageopt.simulator import Shop
from pageopt.simulator.truth import expected
from pageopt.stages import evaluate
from pageopt.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
SLOTS = 3
SHOP = ShopParams.model_validate(
    {
        "pages": 6000,
        "days": 2,
        "users": 900,
        "items": 100,
        "categories": 3,
        "modules": 10,
        "families": 4,
        "slots": SLOTS,
        "available": 7,
        "traffic": {"random": 0.8, "thompson": 0.0, "production": 0.2},
        "page_effects": "none",
        "propensity_samples": 500,
    }
)
FIELDS = (
    Field("platform", "categorical", "page"),
    Field("hero_category", "categorical", "item"),
    Field("hero_price", "numeric", "item"),
)
Change = Callable[[pd.DataFrame], pd.DataFrame]


def _pages(raw: Path, module_ids: list[str]) -> pd.DataFrame:
    """One row a page with what the log shows and what came of it, as stage prepare gives it."""
    read = {name: pq.read_table(raw / name).to_pandas() for name in ("pages", "items", "impressions", "events")}
    pages = read["pages"].merge(read["items"], left_on="hero_item_id", right_on="item_id", how="left")
    pages = pages.sort_values(["ts", "page_id"], ignore_index=True)
    row = pd.Series(np.arange(len(pages)), index=pages["page_id"])
    index = pd.Series(np.arange(len(module_ids)), index=module_ids)
    shape = (len(pages), SLOTS)
    module, propensity = np.full(shape, -1, dtype=np.int32), np.full(shape, np.nan)
    shown = read["impressions"]
    at = row[shown["page_id"]].to_numpy(), shown["slot"].to_numpy() - 1
    module[at], propensity[at] = index[shown["module_id"]].to_numpy(), shown["propensity"].to_numpy()
    events = read["events"].assign(source=read["events"]["event_id"].str[:-1])
    clicks = events[events["kind"] == "click"].set_index("source")
    labels = {}
    for kind in ("click", "purchase"):
        labels[kind] = np.zeros(shape, dtype=np.float32)
        found = clicks.loc[events.loc[events["kind"] == kind, "source"].unique()]
        labels[kind][row[found["page_id"]].to_numpy(), found["slot"].to_numpy().astype(int) - 1] = 1
    return pd.DataFrame(
        {
            "page_id": pages["page_id"],
            "user_id": pages["user_id"],
            "ts": pages["ts"],
            "policy": pages["policy"],
            "platform": pages["platform"],
            "hero_category": pages["category"],
            "hero_price": pages["price"],
            "module": list(module),
            "propensity": list(propensity),
            "click": list(labels["click"]),
            "intent": list(np.zeros(shape, dtype=np.float32)),
            "purchase": list(labels["purchase"]),
            "attributed": list(labels["purchase"]),
            "candidates": [index[names].to_numpy(np.int32) for names in pages["candidates"]],
            "weight": np.ones(len(pages), dtype=np.float32),
        }
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """data/raw of the shop."""
    raw = tmp_path_factory.mktemp("shop") / "raw"
    Shop(SHOP, 4).write(raw)
    return raw


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> Path:
    """Bundles that were exported, by architecture and losses: models of all tests start from one seed."""
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture
def make_workspace(tmp_path, log, bundles) -> Callable[..., Workspace]:
    def make(
        change: Change = lambda pages: pages, losses=("click", "purchase"), truth=True, architecture="trnn"
    ) -> Workspace:
        workspace = Workspace(tmp_path)
        copy(REPOSITORY / "params.yaml", tmp_path)
        text = (tmp_path / "params.yaml").read_text()
        for key, value in (
            ("bootstrap: 1000", "bootstrap: 200"),
            ("folds: 3", "folds: 2"),
            ("rounds: 80", "rounds: 8"),
            ("threads: 2", "threads: 1"),
        ):
            assert key in text
            text = text.replace(key, value)
        objective = "purchase" if "purchase" in losses else "click"
        (tmp_path / "params.yaml").write_text(text.replace("objective: purchase", f"objective: {objective}"))
        modules = pq.read_table(log / "modules").to_pandas().sort_values("module_id", ignore_index=True)
        pages = change(_pages(log, modules["module_id"].tolist()))
        encoder = Encoder.fit(
            FIELDS,
            {field.name: pages[field.name].to_numpy() for field in FIELDS},
            [Field("theme", "categorical", "module")],
            {name: modules[name].to_numpy() for name in modules},
            slots=SLOTS,
            min_count=1,
            title_tokens=2,
            vocabulary=10,
        )
        prepared = workspace.prepared
        encoder.save(prepared / "encoder")
        shown, clicked = np.stack(pages["module"]), np.stack(pages["click"])
        modules["ctr"] = [clicked[shown == m].mean() if (shown == m).any() else 0.0 for m in range(len(modules))]
        modules.to_parquet(prepared / "modules.parquet")
        cut = len(pages) // 6
        for split, part in (("valid", pages[:cut]), ("test", pages[cut:])):
            (prepared / split).mkdir()
            pq.write_table(pa.Table.from_pandas(part, preserve_index=False), prepared / split / "part-0.parquet")
        torch.manual_seed(0)
        params = load(workspace.params, TrainParams).model_copy(update={"width": 8, "embedding": 4})
        params = params.model_copy(update={"architecture": architecture})
        model = PageNetwork.from_encoder(encoder, params, above_mode(params, single_slots=False), losses)
        model.start_from(dict.fromkeys(losses, 0.1))
        model.save(workspace.model)
        bundle = bundles / "-".join([architecture, *losses])
        if not bundle.is_dir():
            layout = CounterLayout((24.0,), ("click",), ("shoes",))
            write_snapshot(prepared / "users.sqlite", [], layout, reference_us=0, declared=())
            write_bundle(bundle, "item", model, workspace.model, prepared, load(workspace.params, SearchParams), 100)
        copytree(bundle, workspace.bundle)
        workspace.raw.mkdir(parents=True)
        if truth:
            (workspace.raw / "truth").symlink_to(log / "truth")
        return workspace

    return make


def _report(workspace: Workspace) -> dict:
    return json.loads((workspace.reports / "evaluation.json").read_text())


def test_estimates_beside_the_truth(make_workspace, capsys):
    workspace = make_workspace()
    evaluate.run(workspace)
    found = _report(workspace)
    models = found["models"]
    assert set(models) == {"trnn", "static"}
    names = {f"{m}_{e}" for m in ("ctr", "ptr") for e in ("dm", "ips", "snips", "dr", "sndr", "cascade_dr", "page_dr")}
    names |= {"auc", "f1", "ndcg", "mrpr", "true_ctr", "true_ptr"}
    curves = models["trnn"].pop("calibration")
    assert {name: curve[0].keys() for name, curve in curves.items()} == dict.fromkeys(
        ("click", "purchase"), {"count": 0, "predicted": 0, "observed": 0, "low": 0, "high": 0}.keys()
    )
    assert sum(entry["count"] for entry in curves["click"]) == found["pages"]["test"] * SLOTS
    errors = {name: models["trnn"].pop(name) for name in ("ece_click", "ece_purchase")}
    assert all(0 <= error["low"] <= error["value"] <= error["high"] < 0.2 for error in errors.values())
    for metrics in models.values():
        assert set(metrics) == names
        for name, estimate in metrics.items():
            assert estimate["low"] <= estimate["value"] <= estimate["high"], name
        for metric in ("ctr", "ptr"):
            true = metrics[f"true_{metric}"]["value"]
            for dr in (metrics[f"{metric}_dr"], metrics[f"{metric}_page_dr"]):
                slack = (dr["high"] - dr["low"]) / 2  # so wide that a right estimator misses one time in 10,000
                assert dr["low"] - slack <= true <= dr["high"] + slack
    assert found["pages"]["policies"] == ["random"]
    assert found["pages"]["estimated_on"] == found["logged"]["random"]["pages"]
    assert all(entry["consistent"] for entry in found["diagnostics"].values())
    assert all(len(entry["cascade"]["pages"]) == SLOTS for entry in found["diagnostics"].values())
    assert all(entry["warnings"] == [] for entry in found["diagnostics"].values())
    assert found["reward_model"]["click"]["loss"] == found["reward_model"]["click"]["loss_cross_fitted"]
    assert all(entry["matched_clicks"] > 50 for entry in found["diagnostics"].values())
    change = found["differences"]["trnn - static"]
    for name in ("ctr_dr", "ctr_page_dr"):
        assert change[name]["value"] == pytest.approx(models["trnn"][name]["value"] - models["static"][name]["value"])
    assert found["page_model"]["problems"] == []
    assert found["page_model"]["production"]["pages"] == found["logged"]["production"]["pages"]
    assert change["true_ctr"]["value"] == pytest.approx(
        models["trnn"]["true_ctr"]["value"] - models["static"]["true_ctr"]["value"]
    )
    assert "CTR" in found["power"]["trnn - static"]["ctr"]["verdict"]
    shown = capsys.readouterr().out
    assert "true CTR" in shown
    assert "static" in shown

    plot = pd.read_csv(workspace.reports / "plots" / "estimates.csv")
    row = plot[(plot["model"] == "static") & (plot["metric"] == "ctr_dr")].iloc[0]
    assert row["true"] == pytest.approx(models["static"]["true_ctr"]["value"])
    plot = pd.read_csv(workspace.reports / "plots" / "calibration.csv")
    assert set(plot["reward"]) == {"click", "purchase"}
    assert plot["observed"].tolist() == pytest.approx(
        [entry["observed"] for curve in curves.values() for entry in curve]
    )
    by_page = pq.read_table(workspace.reward_model / "test_pages.parquet").to_pandas()
    assert by_page["trnn_ctr"].mean() == pytest.approx(models["trnn"]["ctr_page_dr"]["value"])


def test_the_candidate_is_called_by_its_architecture(make_workspace):
    architecture = "mlp"
    workspace = make_workspace(architecture=architecture)
    evaluate.run(workspace)
    found = _report(workspace)
    assert set(found["models"]) == {architecture, "static"}
    assert set(found["differences"]) == set(found["power"]) == {f"{architecture} - static"}
    assert {"auc", "ctr_dr", "true_ptr"} <= set(found["models"][architecture])


def test_a_later_comparison_gets_the_same_figures(make_workspace):
    """What the quality gate does: prepared data and the saved reward model, and any pages to judge."""
    workspace = make_workspace()
    evaluate.run(workspace)
    encoder = Encoder.load(workspace.prepared / "encoder")
    test = load_pages(workspace.prepared / "test", encoder)
    popularity = pq.read_table(workspace.prepared / "modules.parquet")["ctr"].to_numpy()
    order = np.argsort(-popularity, kind="stable")
    modules = static_pages(order, test.candidates, encoder.module_family, SLOTS)
    params = load(workspace.params, evaluate.EvaluateParams)
    logged = LoggedPages(test, RewardModel.load(workspace.reward_model), params)
    value = logged.value(modules[logged.rows])
    found = _report(workspace)["models"]["static"]
    assert value.ctr.mean() == pytest.approx(found["ctr_page_dr"]["value"], abs=1e-12)
    assert value.ptr.mean() == pytest.approx(found["ptr_page_dr"]["value"], abs=1e-12)
    names = np.array([*encoder.module_ids, None], dtype=object)
    click, _ = expected(workspace.raw, test.page_id[value.rows], names[modules[value.rows]])
    assert click.sum(axis=1).mean() == pytest.approx(found["true_ctr"]["value"])


def test_what_the_stage_valued_is_not_valued_again_and_is_the_same(make_workspace):
    workspace = make_workspace()
    evaluate.run(workspace)
    encoder = Encoder.load(workspace.prepared / "encoder")
    test, popularity = load_pages(workspace.prepared / "test", encoder), module_ctr(workspace.prepared, encoder)
    modules = static_pages(static_order(popularity), test.candidates, encoder.module_family, SLOTS)
    model, params = RewardModel.load(workspace.reward_model), load(workspace.params, evaluate.EvaluateParams)
    anew, kept = (LoggedPages(test, model, params, folder) for folder in (None, workspace.reward_model))
    decided = modules[kept.rows]
    first, second = anew.value(decided), kept.value(decided)
    assert "page" not in vars(kept)  # q̂ of whole pages was not asked
    for metric in ("ctr", "ptr"):
        np.testing.assert_array_equal(first.judged(metric), second.judged(metric))
    candidates, engine = test.candidates[kept.rows], PageEngine(workspace.bundle)
    with pytest.raises(KeyError):  # asked of another graph
        kept.decided("0" * 64, candidates, {}.popitem)
    shown = kept.decided(engine.graph, candidates, {}.popitem)
    fields = {name: column[kept.rows] for name, column in test.fields.items()}
    np.testing.assert_array_equal(shown, engine.rank_batch(fields, candidates).modules)
    decided[0, :2] = decided[0, 1::-1]  # another page, another value
    np.testing.assert_array_equal(kept.value(decided).ctr, anew.value(decided).ctr)
    assert not np.array_equal(kept.value(decided).ctr, second.ctr)


def test_the_same_inputs_give_the_same_report(make_workspace):
    workspace = make_workspace(truth=False)
    reports = []
    for _ in range(2):
        evaluate.run(workspace)
        reports.append((workspace.reports / "evaluation.json").read_bytes())
    assert reports[0] == reports[1]
    assert "true_ctr" not in json.loads(reports[0])["models"]["trnn"]


def _one_slot(pages: pd.DataFrame) -> pd.DataFrame:
    kept = np.random.default_rng(0).integers(0, SLOTS, len(pages))
    hidden = np.arange(SLOTS) != kept[:, None]
    nothing = {"module": np.int32(-1), "propensity": np.nan, "click": np.float32(0)}
    changed = {
        name: list(np.where(hidden, value, np.stack(pages[name])).astype(np.stack(pages[name]).dtype))
        for name, value in nothing.items()
    }
    empty = list(np.zeros((len(pages), SLOTS), dtype=np.float32))
    return pages.assign(**changed, purchase=empty, attributed=empty)


def test_single_slots_snapshots_and_no_purchases(make_workspace):
    """A log like the Open Bandit Dataset: the policy with snapshots is judged from the others' log."""

    def change(pages):
        policy = np.where(pages["policy"] == "production", "thompson", pages["policy"])
        thompson = policy == "thompson"
        filled = [np.where(t, 0.2, p) for t, p in zip(thompson, pages["propensity"], strict=True)]
        return _one_slot(pages.assign(policy=policy, propensity=filled))

    workspace = make_workspace(change, losses=("click",), truth=False)
    modules = pq.read_table(workspace.prepared / "modules.parquet")["module_id"].to_pylist()
    (workspace.raw / "snapshots").mkdir()
    rows = [
        {"policy": "bts", "slot": slot, "module_id": module, "probability": 1 / len(modules)}
        for slot in range(1, SLOTS + 1)
        for module in modules
    ]
    pq.write_table(pa.Table.from_pylist(rows), workspace.raw / "snapshots" / "part.parquet")
    evaluate.run(workspace)
    found = _report(workspace)
    assert found["pages"]["single_slots"]
    assert "one slot a page" in found["pages"]["no_cascade_dr"]
    assert "ctr_cascade_dr" not in found["models"]["trnn"]
    assert "ctr_page_dr" not in found["models"]["trnn"]
    assert found["page_model"] is None
    assert found["pages"]["policies"] == ["random"]
    assert found["ranking"]["label"] == "click"
    assert set(found["models"]["trnn"]["calibration"]) == {"click"}
    assert set(found["models"]) == {"trnn", "static", "bts"}
    assert "ndcg" not in found["models"]["trnn"]
    bts = found["models"]["bts"]
    assert bts["logged_ctr"] == found["logged"]["thompson"]["ctr"]
    assert bts["ctr_snips"]["value"] > 0
    assert all(bts[f"ptr_{estimator}"]["value"] == 0 for estimator in ("dm", "ips", "snips", "dr"))
    assert found["differences"]["trnn - bts"]["ptr_dr_relative"] == {"value": None, "low": None, "high": None}
    assert "only 0 rewards" in found["power"]["trnn - bts"]["ptr"]["verdict"]


def test_a_log_without_exploration_cannot_be_evaluated(make_workspace):
    workspace = make_workspace(lambda pages: pages.assign(policy="production"))
    with pytest.raises(EvaluationError, match="logged with propensities"):
        evaluate.run(workspace)
