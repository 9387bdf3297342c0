"""The study's findings: reports/coverage.json, reports/coverage.html, and a table for the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.table import Table

from pageopt.artefact import Artefact
from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Estimate
from pageopt.evaluation.estimators import ESTIMATORS
from pageopt.evaluation.page_check import MISSED
from pageopt.evaluation.policy_value import METRICS, Metric
from pageopt.release import charts
from pageopt.simulator.page_effects import Law
from pageopt.studies.coverage.judged_shop import Truth
from pageopt.studies.coverage.settings import Settings
from pageopt.studies.coverage.study import CASES, DIFFERENCE, OfLaw, Outcome, Summary

GATE, BY_SLOT = "page_dr", "dr"
COVERAGE_LIMITS = (0.92, 0.99)
MOST_BIAS = 0.03  # of the difference, as a share of the static page's value
MOST_WIDTH = 1.5  # beside the slot-wise interval, where modules do not act on each other
ALARMS, FALSE_ALARMS = 0.95, 0.05


class Target(msgspec.Struct, frozen=True):
    """What the gate's estimator and its diagnostics must show, and whether they did."""

    what: str
    value: float
    limit: str
    reached: bool


class CaseFindings(msgspec.Struct, frozen=True):
    """The true value of a case and metric, and how each estimator did; `estimates` are those of every log."""

    truth: Truth
    estimators: dict[str, Summary]
    estimates: dict[str, list[Estimate]]


class Alarms(msgspec.Struct, frozen=True):
    """Shares of logs on which slot-wise estimates, and the gate's own, are said not to be trusted; scores by log."""

    by_slot: float
    gate: float
    scores_by_slot: list[float]
    scores: list[float]
    production_z: list[float | None]

    @classmethod
    def of(cls, law: OfLaw) -> "Alarms":
        """The alarms under a law."""
        checks = law.checks
        return cls(
            by_slot=float(np.mean([check.slots_mislead for check in checks])),
            gate=float(np.mean([bool(check.problems) for check in checks])),
            scores_by_slot=[check.score_by_slot for check in checks],
            scores=[check.score for check in checks],
            production_z=[check.production.z if check.production else None for check in checks],
        )


class Findings(Artefact, frozen=True):
    """reports/coverage.json: by law of page effects, case and metric."""

    ERROR = EvaluationError
    MEND = "Run: pageopt coverage"
    INDENT = 1

    settings: dict[str, Any]
    seconds: float
    targets: list[Target]
    alarms: dict[Law, Alarms]
    cases: dict[Law, dict[str, dict[Metric, CaseFindings]]]


def findings(outcomes: Mapping[Law, OfLaw], settings: Settings, seconds: float) -> Findings:
    """What the study of `settings` came to in so many seconds."""
    models = {"shop": settings.shop.model_dump(mode="json"), "evaluate": settings.evaluate.model_dump(mode="json")}
    return Findings(
        settings=vars(settings) | models,
        seconds=round(seconds, 1),
        targets=targets(outcomes),
        alarms={law: Alarms.of(of) for law, of in outcomes.items()},
        cases={
            law: {case: {metric: _case(outcome, metric) for metric in METRICS} for case, outcome in of.cases.items()}
            for law, of in outcomes.items()
        },
    )


def _case(outcome: Outcome, metric: Metric) -> CaseFindings:
    names = outcome.estimators(metric)
    return CaseFindings(
        outcome.truth[metric],
        {name: outcome.summary(metric, name) for name in names},
        {name: outcome.estimates(metric, name) for name in names},
    )


def targets(outcomes: Mapping[Law, OfLaw]) -> list[Target]:
    """What the gate's estimator must show under every law, by metric the worst of all cases, and what alarms must."""
    judged, (low, high) = [], COVERAGE_LIMITS
    for law, of in outcomes.items():
        for metric in METRICS:
            covered = [of.cases[case].summary(metric, GATE).coverage.value for case in CASES]
            bias = of.cases[DIFFERENCE].summary(metric, GATE).relative_bias
            name = f"{law}, {metric.upper()}"
            reached = low <= min(covered) and max(covered) <= high
            limit = f"{low:.0%} to {high:.0%}"
            judged.append(Target(f"{name}: coverage, the furthest case", _furthest(covered), limit, reached))
            limit = f"at most ±{MOST_BIAS:.0%} of static"
            judged.append(Target(f"{name}: bias of {DIFFERENCE}", bias, limit, abs(bias) <= MOST_BIAS))
            if law == "none":
                gate, by_slot = (
                    [of.cases[case].summary(metric, name).width for case in CASES] for name in (GATE, BY_SLOT)
                )
                wider = max(a / b for a, b in zip(gate, by_slot, strict=True))
                limit = f"at most {MOST_WIDTH:g} times by slot"
                judged.append(Target(f"{name}: width, the widest case", wider, limit, wider <= MOST_WIDTH))
        alarms = Alarms.of(of)
        if law != "none":
            limit = f"at least {ALARMS:.0%} of logs"
            judged.append(Target(f"{law}: alarm for slot-wise DR", alarms.by_slot, limit, alarms.by_slot >= ALARMS))
        limit = f"at most {FALSE_ALARMS:.0%} of logs"
        judged.append(Target(f"{law}: alarm for the gate's DR", alarms.gate, limit, alarms.gate <= FALSE_ALARMS))
    return judged


def _furthest(covered: list[float]) -> float:
    middle = sum(COVERAGE_LIMITS) / 2
    return max(covered, key=lambda share: abs(share - middle))


def table(law: Law, metric: Metric, of: OfLaw) -> Table:
    """One law and metric: the two doubly robust estimators, by slot and page-aware, in every case."""
    shown = Table(title=f"{law}: {metric.upper()}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    for head in ("judged", "estimator", "truth", "bias", "RMSE", "interval covers"):
        shown.add_column(head, justify="left" if head in ("judged", "estimator") else "right", no_wrap=True)
    for case, outcome in of.cases.items():
        for name in (BY_SLOT, GATE):
            cells = _cells(outcome.summary(metric, name))
            figures = (cells[key] for key in ("relative", "rmse", "coverage"))
            shown.add_row(case, ESTIMATORS[name].title, f"{outcome.truth[metric].value:.4f}", *figures)
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


def write(folder: Path, outcomes: Mapping[Law, OfLaw], settings: Settings, seconds: float) -> None:
    """Write coverage.json and coverage.html into `folder`."""
    report = findings(outcomes, settings, seconds)
    report.write(folder / "coverage.json")
    environment = Environment(
        loader=PackageLoader("pageopt.studies.coverage"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("coverage.html.j2").render(
        settings=settings,
        targets=report.targets,
        alarms=report.alarms,
        missed=MISSED,
        sections=[_section(law, metric, of) for law, of in outcomes.items() for metric in METRICS],
        seconds=seconds,
    )
    (folder / "coverage.html").write_text(page, encoding="utf-8")


def _section(law: Law, metric: Metric, of: OfLaw) -> dict[str, Any]:
    covered, errors, rows = [], {}, []
    for case, outcome in of.cases.items():
        truth, unit = outcome.truth[metric].value, outcome.unit[metric]
        for name in (BY_SLOT, GATE):
            label = f"{case}, {'page-aware' if name == GATE else 'by slot'}"
            coverage = outcome.summary(metric, name).coverage
            covered.append(charts.Interval(label, coverage.value, coverage.low, coverage.high, truth=0.95))
            errors[label] = [(estimate.value - truth) / unit for estimate in outcome.estimates(metric, name)]
        for name in outcome.estimators(metric):
            cells = _cells(outcome.summary(metric, name))
            rows.append({"case": case, "truth": f"{truth:.4f}", "name": ESTIMATORS[name].title, **cells})
    return {
        "title": f"{metric.upper()}, page effects: {law}",
        "rows": rows,
        "coverage": charts.intervals(covered, f"Share of logs whose 95 % interval holds the truth: {metric}, {law}"),
        "errors": charts.distributions(errors, f"Error of the estimate, by log: {metric}, {law}"),
    }
