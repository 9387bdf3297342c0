"""reports/experiments.html: one self-contained page, plots as inline SVG."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from pageopt.evaluation.estimate import Estimate
from pageopt.evaluation.estimators import ESTIMATORS
from pageopt.evaluation.policy_value import METRICS, Metric
from pageopt.release import charts
from pageopt.studies.experiments.findings import AbLift, CellPoint, CurveFindings, Findings, TableFindings
from pageopt.studies.experiments.lifts import OverSeeds
from pageopt.studies.experiments.tables import RANKING

_SERIES = {
    "static": "no network",
    "random": "no network",
    "segment": "no network",
    "xgboost": "XGBoost",
    "mlp": "MLP",
    "trnn": "TRNN",
    "transformer": "Transformer",
}
_HEADS = {
    "true_ctr": "true CTR",
    "true_ptr": "true PTR",
    "ctr_dr": "CTR (DR)",
    "ptr_dr": "PTR (DR)",
    "ctr_dm": "CTR (DM)",
    "ptr_dm": "PTR (DM)",
    "auc": "AUC",
    "f1": "F1",
    "ndcg": "NDCG",
    "mrpr": "MRPR",
}
_SIGNS = {"agrees": "✓", "disagrees": "✗", "undecided": "?"}


def render(findings: Findings) -> str:
    """The page of what reports/experiments.json holds."""
    environment = Environment(
        loader=PackageLoader("pageopt.studies.experiments"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"signed": signed, "between": between, "number": lambda value: f"{value:,}"}
    return environment.get_template("experiments.html.j2").render(
        content=findings,
        heads=_HEADS,
        columns={table.id: _columns(table) for table in findings.tables},
        estimators={name: estimator.title for name, estimator in ESTIMATORS.items()},
        curves={curve.id: charts.curves(_series(curve), curve.title, curve.x) for curve in findings.curves},
        signs=_SIGNS,
        scatters=_scatters(findings),
        lifts={table.id: _lifts(table) for table in findings.tables},
        words=findings.words,
    )


def _columns(table: TableFindings) -> list[str]:
    """The metrics that a table shows: those that any of its rows has; of online tables no more than values."""
    wanted = [metric for metric in _HEADS if not (table.online and metric in (*RANKING, "ctr_dm", "ptr_dm"))]
    return [metric for metric in wanted if any(row.metrics[metric].lift for row in table.rows)]


def signed(number: float | None, digits: int = 1) -> str:
    """A share as a signed percentage; a dash where there is none."""
    return "–" if number is None else f"{number:+.{digits}%}"


def between(lift: OverSeeds | AbLift | None, digits: int = 1) -> str:
    """The interval of a lift as signed percentages; nothing where there is none."""
    if lift is None or lift.low is None or lift.high is None:
        return ""
    return f"{100 * lift.low:+.{digits}f} to {100 * lift.high:+.{digits}f} %"


def _series(curve: CurveFindings) -> dict[str, list[charts.Interval]]:
    return {
        line.title: [charts.Interval(at.at, at.figure.value, at.figure.low, at.figure.high) for at in line.points]
        for line in curve.lines
    }


def _scatters(findings: Findings) -> dict[str, dict[str, str]]:
    """Plots by shop and "CTR (DR)" and the like."""
    scatters: dict[str, dict[str, str]] = {}
    for shop, name in findings.shops.items():
        plots = {}
        for metric in METRICS:
            for estimator in ("page_dr", "dr", "dm"):
                points = [
                    _point(cell, metric, estimate)
                    for cell in findings.cells
                    if cell.shop == shop
                    and (figure := cell.figure(f"{metric}_{estimator}"))
                    and (estimate := figure.estimate)
                ]
                if points:
                    title = f"{metric.upper()} by {ESTIMATORS[estimator].title}"
                    plots[title] = charts.scatter(points, f"{title}, {name}: estimate against truth, cell by cell")
        if plots:
            scatters[shop] = plots
    return scatters


def _point(cell: CellPoint, metric: Metric, estimate: Estimate) -> charts.Point:
    return charts.Point(
        _SERIES[cell.kind],
        f"{cell.title}, seed {cell.seed}",
        cell.true_ctr if metric == "ctr" else cell.true_ptr,
        estimate.value,
        estimate.low,
        estimate.high,
    )


def _lifts(table: TableFindings) -> dict[str, str]:
    """Plots of the true lifts with their intervals, the paper's figure as a diamond."""
    plots = {}
    for metric in METRICS:
        rows = []
        for row in table.rows:
            true = row.metrics[f"true_{metric}"]
            if true.lift is None:
                continue
            paper = row.metrics[f"{metric}_dr"].paper if true.paper is None else true.paper
            diamond = None if paper is None else paper / 100
            rows.append(charts.Interval(row.title, true.lift.value, true.lift.low, true.lift.high, diamond))
        if rows:
            title = f"True {metric.upper()} lift, interval over seeds; diamond: the paper's figure"
            plots[title] = charts.intervals(rows, f"{title}. {table.title}")
    return plots
