"""Stage prepare: data/checked to data/prepared, in Ibis on DuckDB."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pageopt import config
from pageopt.config import FeatureParams, PageParams, PrepareParams
from pageopt.features.batch.preparation import STEPS, Job, prepare
from pageopt.features.batch.split import SPLITS
from pageopt.features.prepared import PrepareReport
from pageopt.problems.all import problem_of
from pageopt.stages.metrics import write_metrics
from pageopt.tables.database import database
from pageopt.workspace import Workspace


def run(workspace: Workspace) -> None:
    """Make features, labels, slot bias, splits, encoder and user snapshot, reports/prepare.json and its metrics."""
    params = config.load(workspace.params, PrepareParams)
    features = config.load(workspace.params, FeatureParams)
    problem = problem_of(config.load(workspace.params, PageParams).problem)
    scratch = workspace.state / "scratch" / "prepare"
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with database(scratch, params.memory_limit, params.threads) as connection, Progress(*columns) as bar:
        task = bar.add_task("prepare", total=len(STEPS))

        def show(step: str) -> None:
            bar.update(task, completed=STEPS.index(step), description=step)

        report = prepare(Job(connection, problem, workspace.checked, workspace.prepared, params, features), show)
        bar.update(task, completed=len(STEPS), description="prepared")
    report.write(workspace.reports / "prepare.json")
    write_metrics(workspace, "prepare", {"clicks": sum(report.clicks.values())})
    _summary(report)


def _summary(report: PrepareReport) -> None:
    console = Console()
    counts = {"pages": report.pages, "clicks": report.clicks, "purchases": report.purchases}
    for name, by_split in counts.items():
        console.print(f"{name:<10}" + "  ".join(f"{split} {by_split[split]:>9,}" for split in SPLITS))
    theta = " ".join(f"{value:.2f}" for value in report.examination["click"])
    console.print(f"examination by slot {theta}; {report.fields} fields; {report.users:,} users in the snapshot")
    for note in report.notes:
        console.print(f"note: {note}")
