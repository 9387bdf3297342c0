"""reports/experiments.html: one self-contained page, plots as inline SVG."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pageopt.evaluation.estimators import ESTIMATORS
from pageopt.release import charts
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
VARIANT_NAMES = {"effects": "page effects on", "plain": "page effects off", "steep": "strong slot bias"}
_SIGNS = {"agrees": "✓", "disagrees": "✗", "undecided": "?"}


def render(content: Mapping[str, Any]) -> str:
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
        content=content,
        heads=_HEADS,
        columns={table["id"]: _columns(table) for table in content["tables"]},
        estimators={name: estimator.title for name, estimator in ESTIMATORS.items()},
        variants=VARIANT_NAMES,
        signs=_SIGNS,
        scatters=_scatters(content["cells"]),
        lifts={table["id"]: _lifts(table) for table in content["tables"]},
        words=_words(content["tables"]),
    )


def _columns(table: Mapping[str, Any]) -> list[str]:
    """The metrics that a table shows: those that any of its rows has; of online tables no more than values."""
    wanted = [metric for metric in _HEADS if not (table["online"] and metric in (*RANKING, "ctr_dm", "ptr_dm"))]
    return [metric for metric in wanted if any(row["metrics"][metric]["lift"] for row in table["rows"])]


def signed(number: float | None, digits: int = 1) -> str:
    """A share as a signed percentage; a dash where there is none."""
    return "–" if number is None else f"{number:+.{digits}%}"


def between(found: Mapping[str, float] | None, digits: int = 1) -> str:
    """The interval of a figure as signed percentages."""
    return "" if found is None else f"{100 * found['low']:+.{digits}f} to {100 * found['high']:+.{digits}f} %"


def _words(tables: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many of the paper's figures each word was said of."""
    count = dict.fromkeys(_SIGNS, 0)
    for table in tables:
        for row in table["rows"]:
            for metric in row["metrics"].values():
                if metric["word"]:
                    count[metric["word"]] += 1
    return count


def _series(cell: Mapping[str, Any]) -> str:
    return _SERIES[cell["kind"]]


def _scatters(cells: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Plots by variant of the shop and "CTR (DR)" and the like."""
    found: dict[str, dict[str, str]] = {}
    for variant, name in VARIANT_NAMES.items():
        plots = {}
        for metric in ("ctr", "ptr"):
            for estimator in ("dr", "dm"):
                points = [
                    _point(cell, metric, estimator)
                    for cell in cells
                    if cell["variant"] == variant and cell.get(f"{metric}_{estimator}", {}).get("value") is not None
                ]
                if points:
                    title = f"{metric.upper()} by {ESTIMATORS[estimator].title}"
                    plots[title] = charts.scatter(points, f"{title}, {name}: estimate against truth, cell by cell")
        if plots:
            found[variant] = plots
    return found


def _point(cell: Mapping[str, Any], metric: str, estimator: str) -> charts.Point:
    estimate = cell[f"{metric}_{estimator}"]
    return charts.Point(
        _series(cell),
        f"{cell['title']}, seed {cell['seed']}",
        cell[f"true_{metric}"],
        estimate["value"],
        estimate["low"],
        estimate["high"],
    )


def _lifts(table: Mapping[str, Any]) -> dict[str, str]:
    """Plots of the true lifts with their intervals, the paper's figure as a diamond."""
    plots = {}
    for metric in ("ctr", "ptr"):
        rows = []
        for row in table["rows"]:
            found = row["metrics"][f"true_{metric}"]["lift"]
            if found is None:
                continue
            paper = row["metrics"][f"true_{metric}"]["paper"]
            if paper is None:
                paper = row["metrics"][f"{metric}_dr"]["paper"]
            truth = None if paper is None else paper / 100
            label = row["title"] if row["variant"] == "effects" else f"{row['title']} ({row['variant']})"
            rows.append(charts.Interval(label, found["value"], found["low"], found["high"], truth))
        if rows:
            title = f"True {metric.upper()} lift, interval over seeds; diamond: the paper's figure"
            plots[title] = charts.intervals(rows, f"{title}. {table['title']}")
    return plots
