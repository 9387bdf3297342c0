"""The study's findings: reports/coverage.json, reports/coverage.html, and a table for the terminal."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.table import Table

from pageopt.evaluation.estimate import Estimate
from pageopt.evaluation.estimators import ESTIMATORS
from pageopt.evaluation.policy_value import METRICS
from pageopt.release import charts
from pageopt.studies.coverage.settings import Settings
from pageopt.studies.coverage.study import CASES, PAGE_AWARE, Outcome, Summary

COVERAGE_LIMITS = (0.92, 0.98)
BIAS_STANDARD_ERRORS = 2.0
BIAS_SHARE = 0.02
_JUDGED = "dr"


def name_of(estimator: str) -> str:
    """An estimator as people write it."""
    plain = estimator.removesuffix(PAGE_AWARE)
    return ESTIMATORS[plain].title + estimator.removeprefix(plain)


def content(outcomes: Mapping[str, Outcome], settings: Settings, seconds: float) -> dict[str, Any]:
    """What reports/coverage.json holds.

    {"settings", "seconds", "cases": {case: {"ctr" | "ptr": {"truth", "estimators": {name: summary}}}}, "targets":
    [{"what", "value", "limit", "reached"}], "estimates": {case: {metric: {name: [{"value", "low", "high"} a log]}}}}
    """
    cases = {
        case: {
            metric: {
                "truth": asdict(outcome.truth[metric]),
                "estimators": {
                    estimator: asdict(outcome.summary(metric, estimator)) for estimator in outcome.estimators(metric)
                },
            }
            for metric in METRICS
        }
        for case, outcome in outcomes.items()
    }
    return {
        "settings": {
            **asdict(settings),
            "shop": settings.shop.model_dump(mode="json"),
            "evaluate": settings.evaluate.model_dump(mode="json"),
        },
        "seconds": round(seconds, 1),
        "targets": targets(outcomes),
        "cases": cases,
        "estimates": {
            case: {
                metric: {
                    name: [asdict(one) for one in outcome.estimates(metric, name)]
                    for name in outcome.estimators(metric)
                }
                for metric in METRICS
            }
            for case, outcome in outcomes.items()
        },
    }


def targets(outcomes: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    """What DR must show where its assumption holds, and whether it did."""
    outcome = outcomes[next(iter(CASES))]
    found = []
    for metric in METRICS:
        summary = outcome.summary(metric, _JUDGED)
        low, high = COVERAGE_LIMITS
        errors = abs(summary.bias) / summary.bias_standard_error
        found += [
            _target(f"{metric.upper()}: coverage of DR", summary.coverage.value, f"{low:.0%} to {high:.0%}",
                    low <= summary.coverage.value <= high),
            _target(f"{metric.upper()}: bias of DR in standard errors", errors, f"at most {BIAS_STANDARD_ERRORS:g}",
                    errors <= BIAS_STANDARD_ERRORS),
            _target(f"{metric.upper()}: bias of DR as a share of the value", abs(summary.relative_bias),
                    f"below {BIAS_SHARE:.0%}", abs(summary.relative_bias) < BIAS_SHARE),
        ]  # fmt: skip
    return found


def _target(what: str, value: float, limit: str, reached: bool) -> dict[str, Any]:
    return {"what": what, "value": value, "limit": limit, "reached": bool(reached)}


def table(case: str, metric: str, outcome: Outcome) -> Table:
    """One case and metric."""
    truth = outcome.truth[metric]
    title = f"{case}: {metric.upper()}, truth {truth.value:.4f} ± {truth.standard_error:.4f}"
    shown = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for head in ("estimator", "bias ± s.e.", "share", "RMSE", "interval covers"):
        shown.add_column(head, justify="left" if head == "estimator" else "right", no_wrap=True)
    for estimator in outcome.estimators(metric):
        cells = _cells(outcome.summary(metric, estimator))
        shown.add_row(name_of(estimator), *(cells[key] for key in ("bias", "relative", "rmse", "coverage")))
    return shown


def _cells(summary: Summary) -> dict[str, str]:
    coverage = summary.coverage
    return {
        "bias": f"{summary.bias:+.4f} ± {summary.bias_standard_error:.4f}",
        "relative": f"{summary.relative_bias:+.1%}",
        "rmse": f"{summary.rmse:.4f}",
        "coverage": f"{coverage.value:.1%} ({coverage.low:.1%}–{coverage.high:.1%})",
        "width": f"{summary.width:.4f}",
    }


def write(folder: Path, outcomes: Mapping[str, Outcome], settings: Settings, seconds: float) -> None:
    """Write coverage.json and coverage.html into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = content(outcomes, settings, seconds)
    (folder / "coverage.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    environment = Environment(
        loader=PackageLoader("pageopt.studies.coverage"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("coverage.html.j2").render(
        settings=settings,
        targets=found["targets"],
        sections=[_section(case, metric, outcome) for case, outcome in outcomes.items() for metric in METRICS],
        seconds=seconds,
    )
    (folder / "coverage.html").write_text(page, encoding="utf-8")


def _section(case: str, metric: str, outcome: Outcome) -> dict[str, Any]:
    truth = outcome.truth[metric]
    summaries = {name_of(name): outcome.summary(metric, name) for name in outcome.estimators(metric)}
    errors = {
        name_of(name): [estimate.value / truth.value - 1 for estimate in outcome.estimates(metric, name)]
        for name in outcome.estimators(metric)
    }
    covered = [_interval(name, summary.coverage) for name, summary in summaries.items()]
    return {
        "title": f"{metric.upper()}, {case}",
        "truth": f"{truth.value:.4f} ± {truth.standard_error:.4f}",
        "rows": {name: _cells(summary) for name, summary in summaries.items()},
        "coverage": charts.intervals(covered, f"Share of logs whose 95 % interval holds the truth: {metric}, {case}"),
        "errors": charts.distributions(errors, f"Estimate over truth − 1, by log: {metric}, {case}"),
    }


def _interval(name: str, coverage: Estimate) -> charts.Interval:
    return charts.Interval(name, coverage.value, coverage.low, coverage.high, truth=0.95)
