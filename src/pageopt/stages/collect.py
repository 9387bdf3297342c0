"""Stage collect: the source named in params.yaml to data/raw."""

import shutil
from pathlib import Path

from rich.console import Console

from pageopt.config import CollectParams, load
from pageopt.sources.base import Source, SourceReport
from pageopt.workspace import Workspace


def run(workspace: Workspace) -> None:
    """Write the tables of the log, and source.json about them, to data/raw. Raises SourceError."""
    params = load(workspace.params, CollectParams)
    shutil.rmtree(workspace.raw, ignore_errors=True)
    workspace.raw.mkdir(parents=True)
    report = _source(params, workspace.root).collect(workspace.raw)
    report.write(workspace.raw / "source.json")
    _summary(report)


def _source(params: CollectParams, root: Path) -> Source:
    """Each source is imported only where it is used: the others' libraries need not load."""
    match params.source:
        case "simulator":
            from pageopt.sources.simulator import SimulatorSource

            return SimulatorSource(params.simulator, params.seed)
        case "obd":
            from pageopt.sources.obd import ObdSource

            return ObdSource(params.obd, root / "data" / "external", params.seed)
        case "parquet":
            from pageopt.sources.parquet import ParquetSource

            return ParquetSource(root / params.folder)


def _summary(report: SourceReport) -> None:
    console = Console()
    rows = ", ".join(f"{count:,} {table}" for table, count in report.rows.items())
    console.print(f"[bold]Collected[/] from {report.source}: {rows}", highlight=False, soft_wrap=True)
    console.print(f"Pages from {report.first_ts} to {report.last_ts}", highlight=False, soft_wrap=True)
    for name in ("policies", "candidates", "not_read", "cite"):
        if note := getattr(report, name, None):  # UNSET is false
            console.print(
                f"{name.capitalize().replace('_', ' ')}: {note}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
