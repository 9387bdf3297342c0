"""The files in experiments/ fit each other and the code."""

import inspect
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pageopt.config import ExperimentsParams, TrainParams, load, read
from pageopt.errors import ConfigError
from pageopt.studies.experiments import rankers
from pageopt.studies.experiments.catalog import KNOWN, STATIC, file_of, model, models
from pageopt.studies.experiments.exploration import POLICIES
from pageopt.studies.experiments.plans import shops
from pageopt.studies.experiments.tables import plan

ROOT = Path(__file__).parents[3]
STAGES = YAML(typ="safe").load((ROOT / "experiments" / "dvc.yaml").read_text())["stages"]
GROUPS = {name: stage for name, stage in STAGES.items() if name != "exploration"}
SCALES = [ROOT / "params.yaml", *(ROOT / "presets" / f"{name}.yaml" for name in ("small", "demo", "paper"))]


def test_every_shop_is_run_by_the_stage_of_its_seeds():
    planned = {name: [shop for shop, of in shops(ROOT).items() if of.seeds == name] for name in GROUPS}
    assert {name: stage["matrix"]["shop"] for name, stage in GROUPS.items()} == planned
    assert {of.seeds for of in shops(ROOT).values()} == set(GROUPS)


@pytest.mark.parametrize("file", SCALES, ids=lambda file: file.stem)
def test_every_scale_has_seeds_for_every_stage_and_none_that_chose_anything(file):
    seeds = ExperimentsParams.model_validate(
        load(ROOT / "params.yaml", ExperimentsParams).model_dump() | read(file)["experiments"]
    ).seeds
    assert set(seeds) == set(GROUPS)
    assert not {1, 2, 3, 4, 5, 11, 12, 21, 22} & {seed for of in seeds.values() for seed in of}


def test_every_model_of_a_shop_is_one_and_every_model_has_a_shop():
    assert {name for of in shops(ROOT).values() for name in of.models} == set(models(ROOT))


def test_what_a_shop_changes_is_a_param():
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    for of in shops(ROOT).values():
        for path in of.changed:
            section = params
            for part in path.split("."):
                section = section[part]


def test_whatever_is_asked_and_compared_has_its_cell():
    whole, known = plan(ROOT), {name: set(of.models) for name, of in shops(ROOT).items()}
    asked = [(question.shop, question) for question in whole.questions]
    asked += [(shop, line) for curve in whole.curves for shop in curve.shops.values() for line in curve.lines]
    for shop, each in asked:
        assert set(each.models) <= known[shop], each
        assert each.share is None or {STATIC, KNOWN} <= known[shop]
    sides = [(row.shop, side) for table in whole.tables for row in table.rows for side in (row, table.baseline(row))]
    for shop, side in sides:
        assert side.policy in POLICIES if side.policy else side.model in known[shop]
        if side.model and side.search != "pages":
            assert model(ROOT, side.model).searches


def test_a_shop_reruns_for_every_section_that_it_reads():
    assert all(stage["params"] == GROUPS["sizes"]["params"] for stage in GROUPS.values())
    assert {"train", "search", "evaluate", "prepare", "experiments.threads"} <= {
        each for each in GROUPS["sizes"]["params"] if isinstance(each, str)
    }


def test_the_shipped_model_is_what_params_yaml_trains():
    shipped, train = model(ROOT, "shipped"), load(ROOT / "params.yaml", TrainParams)
    assert (shipped.kind, shipped.losses, shipped.loss_weights) == (
        train.architecture,
        train.losses,
        train.loss_weights,
    )
    assert (shipped.ips, shipped.above, shipped.pairs) == (train.slot_ips, train.above, train.pairs)
    assert '"seed": world.seed' in inspect.getsource(rankers._network)


def test_the_papers_networks_are_without_our_pairs():
    paper = [name for name in models(ROOT) if name.split("_")[0] in ("mlp", "trnn", "lap", "lc", "lu", "equal")]
    assert {name: model(ROOT, name).pairs for name in paper if name != "equal"} == dict.fromkeys(
        (name for name in paper if name != "equal"), False
    )


def test_the_papers_headline_figures_are_those_of_its_tables():
    by_id = {
        table.id: {row.title or row.model or row.policy: row.paper for row in table.rows} for table in plan(ROOT).tables
    }
    assert by_id["table2"]["trnn_ips"]["ptr_dr"] == 29.20
    assert by_id["table3"]["trnn_ips_pf"]["ptr_dr"] == 16.95
    assert by_id["table5"]["TRNN (Lc, Lu, Lap) + pf"] == {"ctr_online": 2.48, "ptr_online": 7.34}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("odd: {title: Odd, kind: forest}\n", r"models\.yaml cannot be used:\n  odd\.kind = 'forest'"),
        ("odd: {title: Odd, kind: xgboost, slot_blind: true}\n", "slot_blind is for networks, not for xgboost"),
    ],
)
def test_a_model_that_cannot_be_is_named(tmp_path, line, complaint):
    file_of(tmp_path).parent.mkdir()
    file_of(tmp_path).write_text(line)
    with pytest.raises(ConfigError, match=complaint):
        models(tmp_path)


def test_an_unknown_model_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"no model 'gru'.*trnn_ips"):
        model(ROOT, "gru")


@pytest.mark.parametrize(
    ("file", "change", "complaint"),
    [
        ("tables", lambda plan: plan["tables"][0].pop("against"), "compared with nothing"),
        ("tables", lambda plan: plan["tables"][0]["rows"][0].update(paper={"auk": 1.0}), "auk"),
        ("questions", lambda plan: plan["questions"][0].update(demand="more"), "does not go with"),
        ("questions", lambda plan: plan["questions"][0].pop("share"), "ask for a 'share'"),
        ("questions", lambda plan: plan["curves"][0]["lines"][0].pop("against"), "ask for a 'share'"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(tmp_path, file, change, complaint):
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("worlds", "cells"))
    file = tmp_path / "experiments" / f"{file}.yaml"
    content = YAML(typ="safe").load(file.read_text())
    change(content)
    with file.open("w") as out:
        YAML(typ="safe").dump(content, out)
    with pytest.raises(ConfigError, match=complaint):
        plan(tmp_path)
