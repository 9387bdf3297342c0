import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from pageopt.evaluation.calibration import Bin
from pageopt.evaluation.figures import Change, EvaluatedOn, Evaluation, Figure, ModelFigures, RankedOn
from pageopt.features.slot_bias import SlotBias
from pageopt.models.common.record import Epoch
from pageopt.models.item.report import TrainReport
from pageopt.release import charts, report
from pageopt.release.gates.verdict import Check, Verdict
from pageopt.release.record import Release, ReleasedModel, publish
from pageopt.release.report import Exposure
from pageopt.workflow.fingerprint import Commit, DataVersion
from pageopt.workflow.repro import Step
from pageopt.workspace import Workspace


def figure(value: float) -> Figure:
    return Figure(value, value * 0.9, value * 1.1)


UNKNOWN = Figure.of(None)
CURVE = [Bin(50, 0.1, 0.12, 0.0, 0.3), Bin(50, 0.2, 0.19, 0.0, 0.3)]
EVALUATION = Evaluation(
    pages=EvaluatedOn(100, 80, 40, ["random"], single_slots=False, no_cascade_dr=None),
    models={
        "trnn": ModelFigures(ctr_dr=figure(0.08), ptr_dr=figure(0.004), true_ctr=figure(0.081)),
        "static": ModelFigures(ctr_dr=figure(0.07), ptr_dr=UNKNOWN),
    },
    differences={
        "trnn - static": Change(
            ctr_dr=figure(0.01), ctr_dr_relative=UNKNOWN, ptr_dr=UNKNOWN, ptr_dr_relative=UNKNOWN, true_ctr=figure(0.02)
        )
    },
    logged={},
    power={},
    diagnostics={},
    reward_model={},
    ranking=RankedOn("click", 100, {}),
)
TRAINED = TrainReport(
    pages={"train": 100, "valid": 50},
    architecture="trnn",
    above="hidden",
    above_choice=None,
    losses=("click",),
    dropped_losses=[],
    parameters=9,
    constant_losses={"click": 0.3},
    best_epoch=3,
    epochs=[Epoch(n, {"click": 0.3}, {"click": 0.3 - 0.01 * n}, 0.9, {}, "hidden", None) for n in (1, 2, 3)],
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    EVALUATION.write(workspace.reports / "evaluation.json")
    TRAINED.write(workspace.reports / "train.json")
    SlotBias(2, [], {"all": [1.0, 0.7]}, {"all": [1.0, 0.7]}, {}).write(workspace.prepared / "slot_bias.json")
    return workspace


def release(**changes) -> Release:
    gates = [Verdict.of("data", [Check("pages", True, 9000, 5000, "9,000 <pages> & more")])]
    facts = {
        "verdict": "promoted",
        "why": "every gate passed",
        "gates": gates,
        "model": ReleasedModel("page-optimizer", 3, "r1"),
        "bento": "page-optimizer:v3-abc",
        "champion_before": None,
        "fingerprint": "abc",
        "preset": "small",
        "source": "simulator",
        "started": "2026-03-01T10:00:00+00:00",
        "seconds": 61.2,
        "steps": [Step("collect", 3.2, 512.0), Step("check", 0.0, None, changed=False)],
        "data": {"data/raw": DataVersion("collect", "d41d8cd9.dir", 1_234_567, 12)},
        "code": Commit("c0ffee", True),
        "params": {"train": {"epochs": 3}},
    }
    return Release(**(facts | changes))


EXPOSURE = Exposure(["shoes", "bags"], {"candidate": np.array([[3, 1], [0, 4], [0, 0]])})


def test_release_json_is_what_the_design_says(workspace: Workspace):
    report.write(workspace, workspace.reports, release(), EXPOSURE, 0.95)
    content = json.loads((workspace.reports / "release.json").read_text())
    assert content["verdict"] == "promoted"
    assert content["model"] == {"name": "page-optimizer", "version": 3, "run_id": "r1"}
    assert (content["bento"], content["champion_before"]) == ("page-optimizer:v3-abc", None)
    gate = content["gates"][0]
    assert {"name", "passed", "value", "limit", "why"} <= gate.keys()
    assert (gate["name"], gate["value"], gate["limit"]) == ("data", 9000, 5000)
    assert content["data"]["data/raw"] == {"stage": "collect", "md5": "d41d8cd9.dir", "bytes": 1234567, "files": 12}


def test_the_page_needs_no_network_and_escapes_what_it_shows(workspace: Workspace):
    report.write(workspace, workspace.reports, release(), EXPOSURE, 0.95)
    page = (workspace.reports / "release.html").read_text()
    assert not re.search(r"<script|src=|@import|url\(|https?://", page)
    assert "9,000 &lt;pages&gt; &amp; more" in page
    assert "d41d8cd9.dir" in page
    assert "c0ffee</code> with changes that are not committed" in page
    assert "1.2 MB" in page
    assert "drift.html" not in page
    assert all(words in page for words in ("<td>CTR (DR)</td>", "<td>true CTR</td>", "+1.000%", "+0.900% to +1.100%"))
    assert page.count("<svg") == 5  # CTR, PTR, training, slot bias, one exposure
    (workspace.reports / "drift.html").write_text("x")
    report.write(workspace, workspace.reports, release(), EXPOSURE, 0.95)
    assert 'href="drift.html"' in (workspace.reports / "release.html").read_text()


def test_calibration_is_drawn_beside_the_line_where_it_is_right(workspace: Workspace):
    trnn = replace(EVALUATION.models["trnn"], calibration={"click": CURVE}, ece_click=Figure(0.0151, 0.01, 0.03))
    replace(EVALUATION, models=EVALUATION.models | {"trnn": trnn}).write(workspace.reports / "evaluation.json")
    report.write(workspace, workspace.reports, release(), EXPOSURE, 0.95)
    page = (workspace.reports / "release.html").read_text()
    assert "trnn, click: error 0.0151 (0.0100 to 0.0300)" in page
    assert page.count("<svg") == 6
    assert "as predicted" in page


def test_a_run_without_evaluation_or_training_still_has_a_report(tmp_path: Path):
    workspace = Workspace(tmp_path)
    rejected = release(
        verdict="rejected", model=ReleasedModel("page-optimizer", None, "r1"), bento=None, why="data: too few pages"
    )
    report.write(workspace, workspace.reports, rejected, None, 0.95)
    page = (workspace.reports / "release.html").read_text()
    assert "data: too few pages" in page
    assert "<svg" not in page


def test_reports_are_published_whole(tmp_path: Path):
    source = tmp_path / "release.json"
    source.write_text("{}")
    publish([source], tmp_path / "reports")
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["release.json"]


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.061, 0.0893), (-3.0, 4.0), (1e-6, 2e-6), (120.0, 99000.0), (5.0, 5.0)]
)
def test_ticks_are_round_and_inside(low: float, high: float):
    marks = charts.ticks(low, high)
    assert all(low - 1e-9 * abs(low) <= mark <= high + 1e-9 * abs(high) for mark in marks)
    if high > low:
        assert 2 <= len(marks) <= 11


def test_charts_are_well_formed_and_stay_inside_their_frame():
    plots = [
        charts.intervals([charts.Interval("a <b>", 0.05, 0.04, 0.06, 0.051), charts.Interval("c", 0, 0, 0)], "t"),
        charts.intervals([charts.Interval("alone", 0.0, 0.0, 0.0)], "t"),
        charts.lines({"x": [(1, 0.5), (2, float("nan")), (3, 0.4)], "empty": []}, "t", "epoch"),
        charts.lines({"one point": [(1, 0.5)]}, "t", "epoch"),
        charts.distributions({"a <b>": [-0.2, 0.0, 0.1, 3.0], "alone": [0.0]}, "t"),
        charts.distributions({"one number": [0.4]}, "t"),
        charts.heat(np.array([[0.2, 0.8], [0.0, 0.0]]), ["a", "b"], ["1", "2"], "t"),
    ]
    for plot in plots:
        root = ElementTree.fromstring(plot)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for element in root.iter():
            for name in ("x", "x1", "x2", "cx"):
                assert 0 <= float(element.attrib.get(name, 0)) <= width
            for name in ("y", "y1", "y2", "cy"):
                assert 0 <= float(element.attrib.get(name, 0)) <= height
        assert "nan" not in plot


def test_says_why_the_modules_above_are_seen_or_hidden(workspace, tmp_path):
    replace(TRAINED, above_choice="The modules above are hidden.").write(workspace.reports / "train.json")
    page = report.write(workspace, tmp_path / "new", release(), None, 0.95)[1].read_text()
    assert "The modules above are hidden." in page
