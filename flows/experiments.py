"""The experiments: the paper's comparisons in shops whose truth is known.

    python -m flows.experiments        as `make experiments` does

Shops by seed and exploration runs are DVC stages (experiments/dvc.yaml), each cached by itself: an interrupted run goes
on where it was, and a changed param reruns what it touches. At the end reports/experiments.json and .html.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from flows.hold import free_locks, held, hold
from pageopt.config import ExperimentsParams, check_all, load
from pageopt.studies.experiments import runner
from pageopt.workspace import Workspace

if TYPE_CHECKING:
    from pageopt.studies.experiments.findings import Findings

RETRIES = 1


@dataclass(frozen=True)
class Ran:
    """What experiments.json holds, and how many of the shops were run for it."""

    findings: "Findings"
    ran: int
    of: int


@task(cache_policy=NO_CACHE, persist_result=False, retries=RETRIES, retry_delay_seconds=2)
def shops(root: Path, processes: int) -> int:
    """Bring all stale stages up to date; how many there were."""
    logger = get_run_logger()
    wanted = runner.stale(root)
    columns = (
        TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[last]}"),
    )  # fmt: skip
    with Progress(*columns) as bar:
        shown = bar.add_task("shops", total=len(wanted), last="")

        def done(stage: str) -> None:
            logger.info("%s is done", stage)
            bar.update(shown, advance=1, last=stage)

        runner.bring_up_to_date(root, wanted, processes, done)
        bar.update(shown, completed=len(wanted), last="")
    return len(wanted)


@task(cache_policy=NO_CACHE, persist_result=False)
def report(workspace: Workspace, seconds: float | None) -> "Findings":
    """Write the reports."""
    from pageopt.studies.experiments.summary import write  # SciPy, pandas: not needed while shops run

    return write(workspace, seconds)


@flow(name="experiments", persist_result=False, validate_parameters=False)
def experiments(root: str) -> "Ran":
    """Run all that is stale in the project at `root`, and write the reports."""
    workspace = Workspace(Path(root))
    started = time.monotonic()
    with hold(workspace):
        free_locks(workspace)
        check_all(workspace.params)
        processes = load(workspace.params, ExperimentsParams).processes
        ran = shops(workspace.root, processes)
        findings = report(workspace, time.monotonic() - started if ran else None)
        return Ran(findings, ran, len(runner.names(workspace.root)))


def _show(done: Ran, seconds: float) -> None:
    """The questions and their answers, what the words came to, and where the rest stands."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    table = Table("question", "answer", "as demanded", title="Experiments", title_justify="left", show_lines=True)
    for asked in done.findings.questions:
        reached = {True: "[green]yes[/green]", False: "[red]no[/red]", None: ""}[asked.reached]
        table.add_row(asked.question, asked.answer, reached)
    console.print(table)
    words = ", ".join(f"{count} {word}" for word, count in done.findings.words.items())
    console.print(f"Figures of the paper: {words}.")
    console.print(f"{done.ran} of {done.of} shops were run anew; total {seconds:.1f} s")
    console.print("Report: reports/experiments.html (figures: reports/experiments.json)")


def main(arguments: list[str] | None = None) -> int:
    """Run the flow in the project around the current folder; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.experiments", description="Run the paper's comparisons.")
    parser.parse_args(arguments)
    started = time.monotonic()

    def work(workspace: Workspace) -> int:
        done = experiments(str(workspace.root))
        _show(done, time.monotonic() - started)
        return 0

    return held(work, ". What is done is kept; go on with: make experiments")


if __name__ == "__main__":
    sys.exit(main())
