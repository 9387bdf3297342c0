"""Stage prepare: data/checked to data/prepared, in Ibis on DuckDB."""

import json

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pageopt import config
from pageopt.config import FeatureParams, PrepareParams
from pageopt.features.batch.preparation import Preparation
from pageopt.features.batch.split import SPLITS
from pageopt.tables.database import database
from pageopt.workspace import Workspace


def run(workspace: Workspace) -> None:
    """Make features, labels, slot bias, splits, encoder and user snapshot, and reports/prepare.json."""
    params = config.load(workspace.params, PrepareParams)
    features = config.load(workspace.params, FeatureParams)
    scratch = workspace.state / "scratch" / "prepare"
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with database(scratch, params.memory_limit, params.threads) as connection, Progress(*columns) as bar:
        task = bar.add_task("prepare", total=len(Preparation.STEPS))

        def show(step: str) -> None:
            bar.update(task, completed=Preparation.STEPS.index(step), description=step)

        report = Preparation(connection, workspace.checked, workspace.prepared, params, features, show).run()
        bar.update(task, completed=len(Preparation.STEPS), description="prepared")
    workspace.reports.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    (workspace.reports / "prepare.json").write_text(text, encoding="utf-8")
    _summary(report)


def _summary(report: dict) -> None:
    console = Console()
    for name in ("pages", "clicks", "purchases"):
        console.print(f"{name:<10}" + "  ".join(f"{split} {report[name][split]:>9,}" for split in SPLITS))
    theta = " ".join(f"{value:.2f}" for value in report["examination"]["click"])
    console.print(f"examination by slot {theta}; {report['fields']} fields; {report['users']:,} users in the snapshot")
    for note in report["notes"]:
        console.print(f"note: {note}")
