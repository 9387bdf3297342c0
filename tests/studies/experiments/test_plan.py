"""The files in experiments/ fit each other and the code."""

import inspect
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pageopt.config import TrainParams
from pageopt.errors import ConfigError
from pageopt.evaluation.figures import Ranking
from pageopt.studies.experiments import rankers, summary
from pageopt.studies.experiments.built import VARIANTS
from pageopt.studies.experiments.catalog import file_of, model, models, planned
from pageopt.studies.experiments.exploration import POLICIES
from pageopt.studies.experiments.figures import Cell, Oracle
from pageopt.studies.experiments.tables import plan

ROOT = Path(__file__).parents[3]
STAGES = YAML(typ="safe").load((ROOT / "experiments" / "dvc.yaml").read_text())["stages"]


def cells() -> set[tuple[str, str]]:
    """(variant, model) of every cell that experiments/dvc.yaml makes."""
    found = set()
    for name, stage in STAGES.items():
        if name in ("world", "exploration"):
            continue
        matrix = stage["matrix"]
        variant = stage["cmd"].split()[3]
        for each in matrix.get("model", ["static"]):
            variants = matrix["variant"] if "${" in variant else [variant]
            found |= {(one, each) for one in variants}
    return found


def test_every_cell_has_a_model_and_every_model_a_cell():
    assert {name for _, name in cells()} == set(models(ROOT))
    assert {variant for variant, _ in cells()} == set(VARIANTS) == set(STAGES["world"]["matrix"]["variant"])
    assert all((variant, "static") in cells() for variant in VARIANTS)  # the oracle's uplift is over it


def test_the_report_takes_the_cells_that_dvc_makes(tmp_path):
    assert planned(ROOT) == cells()
    results = summary.Results(tmp_path, seeds=(1,), confidence=0.95)
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("worlds", "cells"))
    for variant, name in (("effects", "mlp"), ("plain", "random")):  # the second was planned once, in another plan
        folder = tmp_path / "experiments" / "cells" / f"{variant}-{name}-1"
        folder.mkdir(parents=True)
        Cell(
            variant=variant,
            name=name,
            seed=1,
            kind="mlp",
            title=name,
            objective="purchase",
            seconds=1.0,
            judged_pages=1,
            oracle=Oracle({}, {}),
            ranking=Ranking(),
            searches={},
        ).write(folder / "cell.json")
    assert [each.name for each in results.cells()] == ["mlp"]


def test_whatever_is_compared_has_its_cell():
    whole = plan(ROOT)
    sides = [(row.variant, side) for table in whole.tables for row in table.rows for side in (row, table.baseline(row))]
    for asked in whole.questions:
        sides += [(asked.variant, side) for side in (asked.share, asked.against) if side]
        if asked.model:
            assert (asked.variant, asked.model) in cells()
    for variant, side in sides:
        assert side.policy in POLICIES if side.policy else (variant, side.model) in cells()
        if side.model and side.search != "pages":
            assert model(ROOT, side.model).searches


def test_a_network_reruns_for_every_param_that_it_reads():
    """A key of section train is a dependency of every network cell, or is set by the model or the experiments."""
    set_by_cell = {"threads"} | {
        key for key in TrainParams.model_fields if f'"{key}":' in inspect.getsource(rankers._network)
    }
    assert {"architecture", "losses", "seed"} <= set_by_cell
    for name in ("networks", "networks-plain", "networks-steep"):
        listed = {key.removeprefix("train.") for key in STAGES[name]["params"] if str(key).startswith("train.")}
        assert listed | set_by_cell == set(TrainParams.model_fields)
        assert "experiments.threads" in STAGES[name]["params"]
    for name in ("baselines", "static"):
        assert not [key for key in STAGES[name]["params"] if str(key).startswith("train")]


def test_the_papers_headline_figures_are_those_of_its_tables():
    by_id = {
        table.id: {row.title or row.model or row.policy: row.paper for row in table.rows} for table in plan(ROOT).tables
    }
    assert by_id["table2"]["trnn_ips"]["ptr_dr"] == 29.20
    assert by_id["table3"]["trnn_ips_pf"]["ptr_dr"] == 16.95
    assert by_id["table5"]["TRNN (Lc, Lu, Lap) + pf"] == {"ctr_online": 2.48, "ptr_online": 7.34}


def test_a_model_that_cannot_be_is_named(tmp_path):
    file_of(tmp_path).parent.mkdir()
    file_of(tmp_path).write_text("odd: {title: Odd, kind: forest}\n")
    with pytest.raises(ConfigError, match=r"models\.yaml cannot be used:\n  odd\.kind = 'forest'"):
        models(tmp_path)


def test_an_unknown_model_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"no model 'gru'.*trnn_ips"):
        model(ROOT, "gru")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda plan: plan["tables"][0].pop("against"), "compared with nothing"),
        (lambda plan: plan["tables"][0]["rows"][0].update(paper={"auk": 1.0}), "auk"),
        (lambda plan: plan["questions"][0].update(demand="more"), "does not go with"),
        (lambda plan: plan["questions"][0].pop("share"), "ask for a 'share'"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(tmp_path, change, complaint):
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("worlds", "cells"))
    file = tmp_path / "experiments" / "tables.yaml"
    content = YAML(typ="safe").load(file.read_text())
    change(content)
    with file.open("w") as out:
        YAML(typ="safe").dump(content, out)
    with pytest.raises(ConfigError, match=complaint):
        plan(tmp_path)
