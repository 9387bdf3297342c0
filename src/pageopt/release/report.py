"""The release report: release.json for machines, release.html for people."""

import json
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from ruamel.yaml import YAML

from pageopt.release import charts
from pageopt.release.gates.verdict import Verdict
from pageopt.workflow.fingerprint import Commit, DataVersion, as_json
from pageopt.workspace import Workspace

_MEASURES = {"ctr_dr": "Clicks: modules clicked per page", "ptr_dr": "Purchases: modules bought from per page"}


@dataclass(frozen=True)
class Step:
    """One step of a run: seconds, and the peak memory in 10^6 bytes where it was a process of its own."""

    name: str
    seconds: float
    peak_mb: float | None = None
    changed: bool = True


@dataclass(frozen=True)
class Release:
    """All that release.json holds."""

    verdict: str
    why: str
    gates: Sequence[Verdict]
    model_name: str
    version: int | None
    run_id: str
    bento: str | None
    champion_before: int | None
    fingerprint: str
    preset: str
    source: str
    started: str
    seconds: float
    steps: Sequence[Step]
    data: Sequence[DataVersion]
    code: Commit
    params: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The content of release.json."""
        return {
            "verdict": self.verdict,
            "why": self.why,
            "gates": [gate.as_json() for gate in self.gates],
            "model": {"name": self.model_name, "version": self.version, "run_id": self.run_id},
            "bento": self.bento,
            "champion_before": self.champion_before,
            "fingerprint": self.fingerprint,
            "preset": self.preset,
            "source": self.source,
            "started": self.started,
            "seconds": round(self.seconds, 1),
            "steps": [asdict(step) for step in self.steps],
            "data": as_json(list(self.data)),
            "code": asdict(self.code),
            "params": self.params,
        }


@dataclass(frozen=True)
class Exposure:
    """How often a family stands in a slot on the simulated pages: counts [slots, families] by name of the model."""

    families: Sequence[str]
    counts: dict[str, NDArray[np.int64]]


def _read(path: Path) -> dict[str, Any]:
    """A report of a stage; empty where the stage wrote none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


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


def _estimates(evaluation: dict[str, Any]) -> dict[str, str]:
    plots = {}
    for measure, title in _MEASURES.items():
        rows = [
            charts.Interval(
                name,
                found["value"],
                found["low"],
                found["high"],
                (metrics.get(f"true_{measure[:3]}") or {}).get("value"),
            )
            for name, metrics in evaluation.get("models", {}).items()
            if (found := metrics.get(measure)) and None not in (found["value"], found["low"], found["high"])
        ]
        if rows:
            plots[title] = charts.intervals(rows, title)
    return plots


def _differences(evaluation: dict[str, Any]) -> list[dict[str, str]]:
    rows = []
    for name, measures in evaluation.get("differences", {}).items():
        for measure, found in measures.items():
            if not isinstance(found, dict) or found.get("value") is None:
                continue
            style = "+.1%" if "relative" in measure else "+.3%"
            rows.append(
                {
                    "name": name,
                    "measure": _words(measure),
                    "value": format(found["value"], style),
                    "interval": f"{format(found['low'], style)} to {format(found['high'], style)}",
                }
            )
    return rows


def _words(measure: str) -> str:
    """ctr_dr_relative to "CTR (DR), relative"."""
    parts = measure.split("_")
    capitals = {"ctr": "CTR", "ptr": "PTR", "dr": "(DR)", "ips": "(IPS)", "snips": "(SNIPS)", "dm": "(DM)"}
    relative = ", relative" if parts[-1] == "relative" else ""
    return " ".join(capitals.get(part, part) for part in parts if part != "relative") + relative


def _training(train: dict[str, Any]) -> str | None:
    epochs, constant = train.get("epochs", []), train.get("constant_losses", {})
    series = {
        name: [(epoch["epoch"], epoch["valid"][name] / base) for epoch in epochs if name in epoch["valid"]]
        for name, base in constant.items()
        if base
    }
    series = {name: points for name, points in series.items() if points}
    return charts.lines(series, "Validation loss", "epoch") if series else None


def _calibration(evaluation: dict[str, Any]) -> dict[str, str]:
    """Observed rate by predicted probability, a plot a model and reward, beside the line where they agree."""
    plots = {}
    for name, metrics in evaluation.get("models", {}).items():
        for reward, curve in metrics.get("calibration", {}).items():
            points = [(entry["predicted"], entry["observed"]) for entry in curve]
            most = max(max(point) for point in points)
            series = {"observed": points, "as predicted": [(0.0, 0.0), (most, most)]}
            error = metrics[f"ece_{reward}"]
            title = f"{name}, {reward}: error {error['value']:.4f} ({error['low']:.4f} to {error['high']:.4f})"
            plots[title] = charts.lines(series, f"Calibration of {name}, {reward}", "predicted probability")
    return plots


def _slot_bias(bias: dict[str, Any]) -> str | None:
    series = {
        name: [(slot, value) for slot, value in enumerate(values, 1) if value is not None]
        for name, values in bias.get("click", {}).items()
    }
    series = {name: points for name, points in series.items() if points}
    return charts.lines(series, "Slot bias", "slot") if series else None


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
    evaluation, train = (_read(workspace.reports / name) for name in ("evaluation.json", "train.json"))
    content = release.as_json()
    page = environment.get_template("release.html.j2").render(
        release=content,
        estimates=_estimates(evaluation),
        truth=any("true_ctr" in metrics for metrics in evaluation.get("models", {}).values()),
        confidence=f"{confidence:.0%}",
        differences=_differences(evaluation),
        training=_training(train),
        above=train.get("above_choice"),
        calibration=_calibration(evaluation),
        slot_bias=_slot_bias(_read(workspace.prepared / "slot_bias.json")),
        exposure=_exposure(exposure),
        drift_report="drift.html" if (workspace.reports / "drift.html").is_file() else None,
        params=_yaml(release.params),
    )
    texts = {"release.json": json.dumps(content, indent=2, default=str) + "\n", "release.html": page}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def publish(files: Iterable[Path], reports: Path) -> None:
    """Copy reports into `reports`, each whole or not at all: a kill leaves the last report as it was."""
    reports.mkdir(parents=True, exist_ok=True)
    for file in files:
        draft = reports / f"{file.name}.draft"
        shutil.copyfile(file, draft)
        draft.replace(reports / file.name)
