"""A small study end to end, and its sums by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from pageopt.errors import ConfigError
from pageopt.evaluation.estimate import Estimate
from pageopt.studies.coverage import report
from pageopt.studies.coverage.command import coverage
from pageopt.studies.coverage.judged_shop import Truth
from pageopt.studies.coverage.settings import Settings
from pageopt.studies.coverage.study import CASES, Judged, Outcome, Summary
from pageopt.workspace import Workspace

SMALL = Settings(
    logs=3,
    pages=600,
    truth_pages=100_000,
    training_pages=3000,
    evaluate=Settings().evaluate.model_copy(update={"bootstrap": 50}),
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("study"))
    coverage(workspace, SMALL, processes=1)
    return workspace.reports


def test_the_study_writes_its_findings(found):
    content = json.loads((found / "coverage.json").read_text())
    assert list(content["cases"]) == list(CASES)
    off, on = content["cases"]["page effects off"], content["cases"]["page effects on, one family"]
    plain = {"dm", "ips", "snips", "dr", "sndr", "cascade_dr"}
    assert set(off["ctr"]["estimators"]) == plain
    assert set(on["ptr"]["estimators"]) - plain == {f"{name}, page-aware q̂" for name in ("dm", "dr", "cascade_dr")}
    assert off["ctr"]["truth"]["value"] != on["ctr"]["truth"]["value"]
    one = content["estimates"]["page effects off"]["ctr"]["dr"]
    assert len(one) == 3
    summary = off["ctr"]["estimators"]["dr"]
    truth = off["ctr"]["truth"]["value"]
    errors = np.array([estimate["value"] - truth for estimate in one])
    assert summary["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert summary["coverage"]["value"] == pytest.approx(
        np.mean([estimate["low"] <= truth <= estimate["high"] for estimate in one])
    )
    assert {target["limit"] for target in content["targets"]} == {"92% to 98%", "at most 2", "below 2%"}
    assert content["settings"]["shop"]["slots"] == 3
    page = (found / "coverage.html").read_text()
    assert page.count("<svg") == 2 * 2 * len(CASES)
    assert "Cascade-DR, page-aware q̂" in page


def test_any_number_of_processes_finds_the_same(found, tmp_path):
    coverage(Workspace(tmp_path), SMALL, processes=2)
    one, two = (json.loads((folder / "coverage.json").read_text()) for folder in (found, tmp_path / "reports"))
    assert one["estimates"] == two["estimates"]
    assert one["cases"] == two["cases"]


def test_sums_of_a_study_by_hand():
    estimates = [Estimate(0.5, 0.4, 0.6), Estimate(0.7, 0.65, 0.8), Estimate(0.4, 0.3, 0.55)]
    summary = Summary.of(estimates, [0.5, 0.6, 0.5], Truth(0.52, 0.01))
    assert summary.bias == pytest.approx(0.0)
    assert summary.bias_standard_error == pytest.approx(np.std([0, 0.1, -0.1], ddof=1) / np.sqrt(3))
    assert summary.rmse == pytest.approx(np.sqrt((0.02**2 + 0.18**2 + 0.12**2) / 3))
    assert summary.coverage.value == pytest.approx(2 / 3)
    between = binomtest(2, 3).proportion_ci(0.95, method="wilson")
    assert (summary.coverage.low, summary.coverage.high) == (between.low, between.high)
    assert summary.width == pytest.approx(0.2)


def _outcome(shift: float, held: int) -> Outcome:
    """200 logs of truth 0.5 that `held` intervals hold, with estimates off by `shift` and alternating noise."""
    logs = []
    for number in range(200):
        value = 0.5 + shift + (0.01 if number % 2 else -0.01)
        far = 0.0 if number < held else 0.3
        estimate = Estimate(value, value - 0.05 + far, value + 0.05 + far)
        logs.append(Judged({"ctr": {"dr": estimate}, "ptr": {"dr": estimate}}, {"ctr": 0.5, "ptr": 0.5}))
    return Outcome({"ctr": Truth(0.5, 0.0), "ptr": Truth(0.5, 0.0)}, logs)


@pytest.mark.parametrize(
    ("shift", "held", "reached"),
    [(0.0, 190, [True, True, True]), (0.0, 180, [False, True, True]), (0.012, 190, [True, False, False])],
)
def test_targets_are_reached_or_not(shift, held, reached):
    found = report.targets({next(iter(CASES)): _outcome(shift, held)})
    assert [target.reached for target in found] == reached * 2


def test_sizes_that_make_no_study(tmp_path):
    for settings, processes in ((replace(SMALL, logs=1), 1), (replace(SMALL, pages=50), 1), (SMALL, 0)):
        with pytest.raises(ConfigError, match="at least 2 logs of 100 pages and 1 process"):
            coverage(Workspace(tmp_path), settings, processes)
