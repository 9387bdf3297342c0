"""The study's findings: reports/coverage.json, reports/coverage.html, and a table for the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.table import Table

from pageopt.artefact import Artefact
from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Estimate
from pageopt.evaluation.estimators import ESTIMATORS
from pageopt.evaluation.policy_value import METRICS, Metric
from pageopt.release import charts
from pageopt.studies.coverage.judged_shop import Truth
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


class Target(msgspec.Struct, frozen=True):
    """What DR must show where its assumption holds, and whether it did."""

    what: str
    value: float
    limit: str
    reached: bool


class CaseFindings(msgspec.Struct, frozen=True):
    """The true value of a case and metric, and how each estimator did."""

    truth: Truth
    estimators: dict[str, Summary]


class Findings(Artefact, frozen=True):
    """reports/coverage.json: by case and metric; `estimates` holds every estimate of every log."""

    ERROR = EvaluationError
    MEND = "Run: pageopt coverage"
    INDENT = 1

    settings: dict[str, Any]
    seconds: float
    targets: list[Target]
    cases: dict[str, dict[Metric, CaseFindings]]
    estimates: dict[str, dict[Metric, dict[str, list[Estimate]]]]


def findings(outcomes: Mapping[str, Outcome], settings: Settings, seconds: float) -> Findings:
    """What the study of `settings` came to in so many seconds."""
    models = {"shop": settings.shop.model_dump(mode="json"), "evaluate": settings.evaluate.model_dump(mode="json")}
    return Findings(
        settings=vars(settings) | models,
        seconds=round(seconds, 1),
        targets=targets(outcomes),
        cases={
            case: {
                metric: CaseFindings(
                    outcome.truth[metric],
                    {name: outcome.summary(metric, name) for name in outcome.estimators(metric)},
                )
                for metric in METRICS
            }
            for case, outcome in outcomes.items()
        },
        estimates={
            case: {
                metric: {name: outcome.estimates(metric, name) for name in outcome.estimators(metric)}
                for metric in METRICS
            }
            for case, outcome in outcomes.items()
        },
    )


def targets(outcomes: Mapping[str, Outcome]) -> list[Target]:
    """What DR must show where its assumption holds, and whether it did."""
    outcome = outcomes[next(iter(CASES))]
    low, high = COVERAGE_LIMITS
    judged = []
    for metric in METRICS:
        of, name = outcome.summary(metric, _JUDGED), metric.upper()
        covered, errors = of.coverage.value, abs(of.bias) / of.bias_standard_error
        share = abs(of.relative_bias)
        judged += [
            Target(f"{name}: coverage of DR", covered, f"{low:.0%} to {high:.0%}", low <= covered <= high),
            Target(
                f"{name}: bias of DR in standard errors",
                errors,
                f"at most {BIAS_STANDARD_ERRORS:g}",
                errors <= BIAS_STANDARD_ERRORS,
            ),
            Target(f"{name}: bias of DR as a share of the value", share, f"below {BIAS_SHARE:.0%}", share < BIAS_SHARE),
        ]
    return judged


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
    report = findings(outcomes, settings, seconds)
    report.write(folder / "coverage.json")
    environment = Environment(
        loader=PackageLoader("pageopt.studies.coverage"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("coverage.html.j2").render(
        settings=settings,
        targets=report.targets,
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
