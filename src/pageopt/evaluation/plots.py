"""Figures of reports/evaluation.json as rows: reports/plots/estimates.csv and calibration.csv."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import UNSET, to_builtins

from pageopt.evaluation.figures import ModelFigures
from pageopt.evaluation.policy_value import METRICS

_ESTIMATES = ("model", "metric", "value", "low", "high", "true")
_CALIBRATION = ("model", "reward", "bin", "count", "predicted", "observed", "low", "high")


def write(folder: Path, models: Mapping[str, ModelFigures]) -> None:
    """Write both files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns, rows in (
        ("estimates.csv", _ESTIMATES, _estimates(models)),
        ("calibration.csv", _CALIBRATION, _calibration(models)),
    ):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def _estimates(models: Mapping[str, ModelFigures]) -> Iterator[dict[str, object]]:
    for model, of in models.items():
        for metric, figure in of.figures().items():
            kind = metric.partition("_")[0]
            if kind != "true":
                true = of.figure(f"true_{kind}") if kind in METRICS else None
                yield {"model": model, "metric": metric, **to_builtins(figure), "true": true.value if true else None}


def _calibration(models: Mapping[str, ModelFigures]) -> Iterator[dict[str, object]]:
    for model, of in models.items():
        curves = {} if of.calibration is UNSET else of.calibration
        for reward, curve in curves.items():
            for number, entry in enumerate(curve, 1):
                yield {"model": model, "reward": reward, "bin": number, **vars(entry)}
