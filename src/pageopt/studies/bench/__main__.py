"""`make bench`: measures, prints, and writes reports/bench.json."""

import argparse
import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from pageopt import telemetry
from pageopt.workspace import Workspace

SHORT, LONG = 100_000, 1_000_000


def _training(workspace: Workspace) -> dict:
    """Of every network, by name."""
    from pageopt.config import TrainParams, load
    from pageopt.models.item.network import ARCHITECTURES
    from pageopt.studies.bench.inputs import Size
    from pageopt.studies.bench.training import training

    params = load(workspace.params, TrainParams)
    return {name: training(params, Size(architecture=name)) for name in ARCHITECTURES}


def _page_decision() -> dict:
    """Of every network, by name."""
    from pageopt.models.item.network import ARCHITECTURES
    from pageopt.studies.bench.inputs import Size
    from pageopt.studies.bench.page_decision import page_decision

    return {name: page_decision(Size(architecture=name)) for name in ARCHITECTURES}


def _endpoint(workspace: Workspace) -> dict:
    from pageopt.studies.bench.endpoint import endpoint

    return endpoint(workspace)


def _batch(workspace: Workspace, long: bool) -> dict:
    """Collect, check and prepare at 100,000 pages and, if asked, at 1,000,000, with the growth between the two."""
    from pageopt.studies.bench.pipeline import measure

    costs = {pages: measure(workspace, pages) for pages in ((SHORT, LONG) if long else (SHORT,))}
    result: dict = {
        f"{pages}_pages": {stage: asdict(cost) for stage, cost in stages.items()} for pages, stages in costs.items()
    }
    if long:
        result["growth"] = {stage: costs[LONG][stage].seconds / costs[SHORT][stage].seconds for stage in costs[SHORT]}
        result["growth_if_linear"] = LONG / SHORT
        result["prepare_limit"] = {"seconds": 180, "peak_gib": 6}
        result["collect_limit"] = {"seconds": 180}
    return result


def _flat(figures: dict, prefix: str = "") -> list[tuple[str, object]]:
    return [
        row
        for name, value in figures.items()
        for row in (_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)])
    ]


def main() -> None:
    """Measure one thing after the other; each figure stands beside its peer or limit from the same run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="also prepare a million pages (about ten minutes)")
    arguments = parser.parse_args()
    telemetry.switch_off()
    workspace, console = Workspace.find(), Console()
    # Batch first: the peak memory of a process counts what its parent held when it was started.
    measures: dict[str, Callable[[], dict]] = {
        "batch": lambda: _batch(workspace, arguments.long),
        "training": lambda: _training(workspace),
        "page_decision": _page_decision,
        "endpoint": lambda: _endpoint(workspace),
    }
    report: dict = {
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "load_at_start": os.getloadavg()[0],
        }
    }
    for name, measure in measures.items():
        with console.status(f"Measuring {name}"):
            report[name] = measure()
        table = Table(title=name, show_header=False)
        for key, value in _flat(report[name]) or [("nothing to measure", "run `make run` first")]:
            table.add_row(key, f"{value:,.4g}" if isinstance(value, float) else str(value))
        console.print(table)
    workspace.reports.mkdir(exist_ok=True)
    target = workspace.reports / "bench.json"
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    console.print(f"Figures: {target.relative_to(workspace.root)}")


if __name__ == "__main__":
    main()
