import shutil
from pathlib import Path

import pytest

from pageopt.evaluation.figures import Change, EvaluatedOn, Evaluation, ModelFigures, RankedOn
from pageopt.evaluation.figures import Figure as Estimated
from pageopt.models.common.record import Epoch
from pageopt.models.item.report import TrainReport
from pageopt.release import model_card
from pageopt.release.gates.verdict import Check, Verdict
from pageopt.release.record import Release, ReleasedModel
from pageopt.release.registry import DataSet, Figure
from pageopt.workflow.fingerprint import Commit
from pageopt.workspace import Workspace

LOCK = """
schema: '2.0'
stages:
  collect:
    params: {params.yaml: {collect: {source: simulator, simulator: {pages: 9}, obd: {campaign: all}}}}
    outs: [{path: data/raw, md5: raw.dir}]
  prepare:
    deps: [{path: data/raw}]
    params: {params.yaml: {prepare: {threads: 2}}}
    outs: [{path: data/prepared, md5: prepared.dir}]
  export:
    deps: [{path: data/prepared}]
    params: {params.yaml: {search: {width: 3}}}
    outs: [{path: models/bundle, md5: bundle.dir}]
  simulate-pages:
    deps: [{path: data/prepared}]
    params: {params.yaml: {simulate_pages: {pages: 5}}}
    outs: [{path: data/simulated, md5: simulated.dir}]
"""
TRAIN = TrainReport(
    pages={"train": 60, "valid": 10},
    architecture="trnn",
    above="chosen",
    above_choice=None,
    losses=("click",),
    dropped_losses=[],
    parameters=9,
    constant_losses={"click": 0.5},
    best_epoch=2,
    epochs=[Epoch(n, {"click": 0.4 / n}, {"click": 0.5 / n}, 1 / n, {}, "chosen", None) for n in (1, 2, 3)],
)
UNKNOWN = Estimated.of(None)


def _change(value: float, low: float, high: float) -> Change:
    ctr = Estimated(value, low, high)
    return Change(ctr_dr=ctr, ctr_dr_relative=UNKNOWN, ptr_dr=UNKNOWN, ptr_dr_relative=UNKNOWN)


EVALUATION = Evaluation(
    pages=EvaluatedOn(30, 20, 9, ["random"], single_slots=False, no_cascade_dr=None),
    models={
        "trnn": ModelFigures(
            auc=Estimated(0.84, 0.83, 0.85), ctr_dr=Estimated(0.7436, 0.7102, 0.778), calibration={"click": []}
        ),
        "static": ModelFigures(auc=UNKNOWN),
    },
    differences={"trnn - static": _change(0.14, 0.1, 0.18), "static - random": _change(0.02, 0.01, 0.03)},
    logged={},
    power={},
    diagnostics={},
    reward_model={},
    ranking=RankedOn("click", 30, {}),
)
GATES = [
    Verdict.of("quality", [Check("CTR over the static page", True, 0.1, 0.0, "CTR +24.1%")]),
    Verdict.of("drift", [Check("drift", False, None, None, "PSI 0.7 in slot 1")]),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    (tmp_path / "dvc.lock").write_text(LOCK)
    shutil.copyfile(Path(__file__).parents[2] / "params.yaml", workspace.params)
    TRAIN.write(workspace.reports / "train.json")
    EVALUATION.write(workspace.reports / "evaluation.json")
    return workspace


def test_params_are_those_that_shaped_the_bundle(workspace: Workspace):
    assert model_card.params(workspace) == {
        "collect.source": "simulator",
        "collect.simulator.pages": "9",
        "prepare.threads": "2",
        "search.width": "3",
    }


def test_the_origin_holds_the_digests_of_the_data_and_leaves_out_what_is_not_known(workspace: Workspace):
    known = model_card.origin(workspace, None)
    assert known == {"data/raw": "raw.dir", "data/prepared": "prepared.dir", "data/simulated": "simulated.dir"}
    assert model_card.origin(workspace, 3)["champion_before"] == "3"


def test_the_splits_carry_the_digest_of_dvc(workspace: Workspace):
    assert model_card.data_sets(workspace) == [
        DataSet("train", "training", "data/prepared/train", 60, "prepared.dir"),
        DataSet("valid", "validation", "data/prepared/valid", 10, "prepared.dir"),
        DataSet("test", "evaluation", "data/prepared/test", 30, "prepared.dir"),
    ]


def test_figures_are_curves_by_epoch_the_best_epoch_the_test_split_and_the_gates(workspace: Workspace):
    train, valid, test = model_card.data_sets(workspace)
    figures = model_card.figures(workspace, GATES)
    assert len(figures) == 9 + 3 + 2 + 1 + 1
    assert Figure("loss by epoch/train click", 0.4, 1) in figures
    assert Figure("loss by epoch/valid relative", 1 / 3, 3) in figures
    assert Figure("train/click loss", 0.2, data=train) in figures
    assert Figure("valid/relative loss", 0.5, data=valid) in figures
    assert Figure("test/ctr_dr", 0.7436, data=test) in figures
    assert Figure("test over static/ctr_dr", 0.14, data=test) in figures
    assert Figure("quality/CTR over the static page", 0.1) in figures


def test_the_note_starts_with_the_verdict_and_names_gates_and_key_figures(workspace: Workspace):
    release = Release(
        verdict="rejected",
        why="drift: PSI 0.7 in slot 1",
        gates=GATES,
        model=ReleasedModel("page-optimizer", None, "r1"),
        bento=None,
        champion_before=None,
        fingerprint="abc",
        preset="demo",
        source="simulator",
        started="2026-03-01T10:00:00+00:00",
        seconds=1.0,
        steps=[],
        data={},
        code=Commit(None, None),
        params={},
    )
    note = model_card.note(workspace, release)
    assert note.startswith(
        "Rejected: drift: PSI 0.7 in slot 1\n\n- quality passed: CTR +24.1%\n- drift **failed**: PSI"
    )
    assert "95% intervals" in note
    assert "- trnn: AUC 0.84 (0.83 to 0.85), NDCG –, CTR (page-aware DR) –" in note
    assert "CTR (DR by slot) 0.7436 (0.7102 to 0.778), PTR (DR by slot) –" in note
    assert "- static: AUC –" in note
