"""The release report: release.json for machines, release.html for people."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from msgspec import UNSET
from numpy.typing import NDArray
from ruamel.yaml import YAML

from pageopt.artefact import Artefact
from pageopt.evaluation.estimators import ESTIMATORS
from pageopt.evaluation.figures import Change, Evaluation, ModelFigures
from pageopt.evaluation.policy_value import METRICS
from pageopt.features.slot_bias import SlotBias
from pageopt.models.item.report import TrainReport
from pageopt.release import charts
from pageopt.release.record import Release
from pageopt.workspace import Workspace

_MEASURES = {"ctr": "Clicks: modules clicked per page", "ptr": "Purchases: modules bought from per page"}
_WORDS = {metric: metric.upper() for metric in METRICS} | {name: f"({of.title})" for name, of in ESTIMATORS.items()}
Read = TypeVar("Read", bound=Artefact)


@dataclass(frozen=True)
class Exposure:
    """How often a family stands in a slot on the simulated pages: counts [slots, families] by name of the model."""

    families: Sequence[str]
    counts: dict[str, NDArray[np.int64]]


def _read(kind: type[Read], file: Path) -> Read | None:
    """A report of a stage; None where the stage wrote none."""
    return kind.read(file) if file.is_file() else None


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1000 else f"{value:.4g}"


def _size(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count = count / 1000  # type: ignore[assignment]
    return f"{count:,.1f} GB"


def _estimates(models: Mapping[str, ModelFigures]) -> dict[str, str]:
    plots = {}
    for metric, title in _MEASURES.items():
        rows = []
        for name, of in models.items():
            figure, true = of.figure(f"{metric}_dr"), of.figure(f"true_{metric}")
            if figure and (estimate := figure.estimate):
                low, high = estimate.low, estimate.high
                rows.append(charts.Interval(name, estimate.value, low, high, true.value if true else None))
        if rows:
            plots[title] = charts.intervals(rows, title)
    return plots


def _differences(changes: Mapping[str, Change]) -> list[dict[str, str]]:
    rows = []
    for name, change in changes.items():
        for measure, figure in change.figures().items():
            if estimate := figure.estimate:
                style = "+.1%" if measure.endswith("_relative") else "+.3%"
                rows.append(
                    {
                        "name": name,
                        "measure": _words(measure),
                        "value": format(estimate.value, style),
                        "interval": f"{format(estimate.low, style)} to {format(estimate.high, style)}",
                    }
                )
    return rows


def _words(measure: str) -> str:
    """ctr_dr_relative to "CTR (DR), relative"."""
    plain = measure.removesuffix("_relative")
    kind, _, estimator = plain.partition("_")
    of = _WORDS.get(estimator, estimator.replace("_", " "))
    return f"{_WORDS.get(kind, kind)} {of}".rstrip() + (", relative" if plain != measure else "")


def _training(train: TrainReport) -> str | None:
    series = {
        name: [(epoch.epoch, epoch.valid[name] / base) for epoch in train.epochs if name in epoch.valid]
        for name, base in train.constant_losses.items()
        if base
    }
    return _lines(series, "Validation loss", "epoch")


def _calibration(models: Mapping[str, ModelFigures]) -> dict[str, str]:
    """Observed rate by predicted probability, a plot a model and reward, beside the line where they agree."""
    plots = {}
    for name, of in models.items():
        curves = {} if of.calibration is UNSET else of.calibration
        for reward, curve in curves.items():
            points = [(entry.predicted, entry.observed) for entry in curve]
            most = max(max(point) for point in points)
            series = {"observed": points, "as predicted": [(0.0, 0.0), (most, most)]}
            title = f"{name}, {reward}"
            if (figure := of.figure(f"ece_{reward}")) and (error := figure.estimate):
                title += f": error {error.value:.4f} ({error.low:.4f} to {error.high:.4f})"
            plots[title] = charts.lines(series, f"Calibration of {name}, {reward}", "predicted probability")
    return plots


def _slot_bias(bias: SlotBias) -> str | None:
    series = {name: list(enumerate(curve, 1)) for name, curve in bias.click.items()}
    return _lines(series, "Slot bias", "slot")


def _lines(series: Mapping[str, Sequence[tuple[float, float]]], title: str, x_label: str) -> str | None:
    kept = {name: points for name, points in series.items() if points}
    return charts.lines(kept, title, x_label) if kept else None


def _exposure(exposure: Exposure | None) -> dict[str, str]:
    if exposure is None:
        return {}
    return {
        name: charts.heat(
            (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).T,
            exposure.families,
            [str(slot + 1) for slot in range(len(counts))],
            f"Families by slot, {name}",
        )
        for name, counts in exposure.counts.items()
    }


def _yaml(content: object) -> str:
    text = StringIO()
    YAML(typ="safe").dump(content, text)
    return text.getvalue()


def write(
    workspace: Workspace, folder: Path, release: Release, exposure: Exposure | None, confidence: float
) -> list[Path]:
    """Write release.json and release.html into `folder`, and return their paths. Links in it are those of reports/."""
    environment = Environment(
        loader=PackageLoader("pageopt.release"), undefined=StrictUndefined, autoescape=True, trim_blocks=True
    )
    environment.filters |= {"number": _number, "size": _size}
    evaluation = _read(Evaluation, workspace.reports / "evaluation.json")
    train = _read(TrainReport, workspace.reports / "train.json")
    bias = _read(SlotBias, workspace.prepared / "slot_bias.json")
    models = evaluation.models if evaluation else {}
    page = environment.get_template("release.html.j2").render(
        release=release,
        estimates=_estimates(models),
        truth=any(of.figure("true_ctr") for of in models.values()),
        confidence=f"{confidence:.0%}",
        differences=_differences(evaluation.differences if evaluation else {}),
        training=_training(train) if train else None,
        above=train.above_choice if train else None,
        calibration=_calibration(models),
        slot_bias=_slot_bias(bias) if bias else None,
        exposure=_exposure(exposure),
        drift_report="drift.html" if (workspace.reports / "drift.html").is_file() else None,
        params=_yaml(release.params),
    )
    files = [folder / "release.json", folder / "release.html"]
    release.write(files[0])
    files[1].write_text(page, encoding="utf-8")
    return files
