"""A small study end to end, and its sums by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from pageopt.errors import ConfigError
from pageopt.evaluation.estimate import Estimate
from pageopt.evaluation.estimators import ESTIMATORS
from pageopt.evaluation.page_check import PageCheck
from pageopt.simulator.page_effects import LAWS
from pageopt.studies.coverage import report
from pageopt.studies.coverage.command import coverage
from pageopt.studies.coverage.judged_shop import Truth
from pageopt.studies.coverage.settings import Settings
from pageopt.studies.coverage.study import CASES, DIFFERENCE, Judged, OfLaw, Outcome, Summary
from pageopt.workspace import Workspace

SMALL = Settings(
    logs=2,
    pages=1500,
    truth_pages=10_000,
    training_pages=3000,
    shop=Settings().shop.model_copy(update={"modules": 8, "families": 4, "slots": 3, "available": 6, "categories": 2}),
    evaluate=Settings().evaluate.model_copy(update={"bootstrap": 50}),
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("study"))
    coverage(workspace, SMALL, processes=1)
    return workspace.reports


def test_the_study_writes_its_findings(found):
    content = json.loads((found / "coverage.json").read_text())
    assert list(content["cases"]) == list(LAWS)
    for law in LAWS:
        assert list(content["cases"][law]) == list(CASES)
    content_law = content["cases"]["content"]
    assert set(content_law["static"]["ctr"]["estimators"]) == set(ESTIMATORS)
    assert set(content_law[DIFFERENCE]["ptr"]["estimators"]) == {"dr", "page_dr"}
    assert content_law["static"]["ctr"]["truth"]["value"] != content["cases"]["none"]["static"]["ctr"]["truth"]["value"]
    of_static = content_law["static"]["ctr"]
    one = of_static["estimates"]["page_dr"]
    assert len(one) == 2
    summary, truth = of_static["estimators"]["page_dr"], of_static["truth"]["value"]
    errors = np.array([estimate["value"] - truth for estimate in one])
    assert summary["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert summary["coverage"]["value"] == pytest.approx(
        np.mean([estimate["low"] <= truth <= estimate["high"] for estimate in one])
    )
    assert content["settings"]["shop"]["slots"] == 3
    assert len(content["alarms"]["content"]["scores"]) == 2
    page = (found / "coverage.html").read_text()
    assert page.count("<svg") == 2 * 2 * len(LAWS)
    assert "page-aware DR" in page


def test_any_number_of_processes_finds_the_same(found, tmp_path):
    coverage(Workspace(tmp_path), SMALL, processes=2)
    one, two = (json.loads((folder / "coverage.json").read_text()) for folder in (found, tmp_path / "reports"))
    assert one["cases"] == two["cases"]
    assert one["alarms"] == two["alarms"]


def test_sums_of_a_study_by_hand():
    estimates = [Estimate(0.5, 0.4, 0.6), Estimate(0.7, 0.65, 0.8), Estimate(0.4, 0.3, 0.55)]
    summary = Summary.of(estimates, [0.5, 0.6, 0.4], Truth(0.52, 0.01), unit=0.2)
    errors = [0, 0.1, 0]
    assert summary.bias == pytest.approx(np.mean(errors))
    assert summary.relative_bias == pytest.approx(np.mean(errors) / 0.2)
    assert summary.bias_standard_error == pytest.approx(np.std(errors, ddof=1) / np.sqrt(3))
    assert summary.rmse == pytest.approx(np.sqrt((0.02**2 + 0.18**2 + 0.12**2) / 3))
    assert summary.coverage.value == pytest.approx(2 / 3)
    between = binomtest(2, 3).proportion_ci(0.95, method="wilson")
    assert (summary.coverage.low, summary.coverage.high) == (between.low, between.high)
    assert summary.width == pytest.approx(0.2)


def _law(shift: float, held: int, score_by_slot: float, score: float, wider: float = 1.0) -> OfLaw:
    """200 logs of truth 0.5 that `held` intervals hold, with estimates off by `shift` and alternating noise."""
    logs, checks = [], []
    for number in range(200):
        value = 0.5 + shift + (0.01 if number % 2 else -0.01)
        far = 0.0 if number < held else 0.9
        gate = Estimate(value, value - 0.05 * wider + far, value + 0.05 * wider + far)
        slot = Estimate(value, value - 0.05, value + 0.05)
        both = {"page_dr": gate, "dr": slot}
        logs.append(Judged({"ctr": both, "ptr": both}, {"ctr": 0.5, "ptr": 0.5}))
        checks.append(PageCheck(score, score_by_slot, 100.0, False, None, ["a reason"] if score > 2.5 else []))
    truth = {"ctr": Truth(0.5, 0.0), "ptr": Truth(0.5, 0.0)}
    return OfLaw({case: Outcome(truth, {"ctr": 0.5, "ptr": 0.5}, logs) for case in CASES}, checks)


@pytest.mark.parametrize(
    ("law", "of", "missed"),
    [
        ("content", _law(0.0, 190, 9.0, 0.0), set()),
        ("content", _law(0.0, 180, 9.0, 0.0), {"coverage"}),
        ("content", _law(0.02, 190, 9.0, 0.0), {"bias"}),
        ("content", _law(0.0, 190, 1.0, 0.0), {"alarm for slot-wise DR"}),
        ("content", _law(0.0, 190, 9.0, 3.0), {"alarm for the gate's DR"}),
        ("none", _law(0.0, 190, 0.0, 0.0, wider=1.4), set()),
        ("none", _law(0.0, 190, 0.0, 0.0, wider=1.6), {"width"}),
    ],
)
def test_targets_are_reached_or_not(law, of, missed):
    judged = report.targets({law: of})
    assert {
        target.what.split(": ")[1].split(",")[0].split(" of ")[0] for target in judged if not target.reached
    } == missed


def test_sizes_that_make_no_study(tmp_path):
    for settings, processes in ((replace(SMALL, logs=1), 1), (replace(SMALL, pages=50), 1), (SMALL, 0)):
        with pytest.raises(ConfigError, match="at least 2 logs of 100 pages and 1 process"):
            coverage(Workspace(tmp_path), settings, processes)
