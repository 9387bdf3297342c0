"""A search for better params of section train: make tune.

    python -m flows.tune

Trials train on the train split and are judged on the validation split; test pages are not read. A search that was ended
goes on with the trials that are missing, and the one under way with its last epoch.
"""

import argparse
import sys
import time
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from flows import summary
from flows.hold import free_locks, held, hold
from pageopt.config import TuneParams, check_all, load
from pageopt.errors import PageoptError
from pageopt.studies.tuning.search import Search
from pageopt.studies.tuning.space import draw
from pageopt.studies.tuning.tracking import Tracking, Trial
from pageopt.workflow import repro
from pageopt.workspace import Workspace


@task(cache_policy=NO_CACHE, persist_result=False, retries=1, retry_delay_seconds=5)
def prepare(root: Path) -> None:
    """Bring the prepared pages up to date."""
    if {"collect", "check", "prepare"} & set(repro.stale(root)):
        repro.repro(root, "prepare", get_run_logger().info)


@task(task_run_name="trial {number}", cache_policy=NO_CACHE, persist_result=False)
def trial(search: Search, tracking: Tracking, number: int) -> Trial:
    """Run one trial."""
    values = draw(search.params, number)
    told = ", ".join(f"{name} {value}" for name, value in values.items())
    summary.heading(f"Trial {number + 1} of {search.params.trials}: {told}")
    run_id = tracking.begin(number, values)
    try:
        return tracking.finish(run_id, search.trial(values))
    except PageoptError:
        tracking.fail(run_id)
        raise


@flow(name="tune", persist_result=False, validate_parameters=False)
def tune(root: str) -> tuple[list[Trial], str, str]:
    """Run the trials that are missing; returns all of them, and the ids of the MLflow experiment and parent run."""
    workspace = Workspace(Path(root))
    with hold(workspace):
        free_locks(workspace)
        check_all(workspace.params)
        prepare(workspace.root)
        search = Search(workspace)
        tracking = Tracking(workspace, search.fingerprint())
        wanted = range(search.params.trials)
        done = {each.number: each for each in tracking.done()}
        for number in wanted:
            if number not in done:
                done[number] = trial(search, tracking, number)
        trials = [done[number] for number in wanted]
        tracking.close(min(trials, key=lambda each: each.score))
        search.forget_checkpoints()
        return trials, tracking.experiment, tracking.parent


def _show(workspace: Workspace, trials: list[Trial], experiment: str, parent: str, seconds: float) -> None:
    """The trials, best first, and the best one's values as they go into params.yaml."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    names = list(load(workspace.params, TuneParams).space)
    table = Table("trial", *names, "validation loss", "best epoch", title="Trials, best first", title_justify="left")
    best, *_ = ranked = sorted(trials, key=lambda each: each.score)
    for each in ranked:
        drawn = [each.values[name] for name in names]
        table.add_row(str(each.number + 1), *drawn, f"{each.score:.4f}", str(each.best_epoch))
    console.print(table)
    console.print("The loss is over that of predicting the base rates, on the validation split; smaller is better.")
    console.print("\nBest, for params.yaml:\n")
    values = draw(load(workspace.params, TuneParams), best.number)
    editor = YAML(typ="safe")
    editor.default_flow_style = False
    editor.dump({"train": values}, sys.stdout)
    database = workspace.registry_uri.removeprefix("sqlite:///")
    console.print(f"\nRuns: mlflow ui --backend-store-uri sqlite:///{database}", soft_wrap=True)
    console.print(f"then  http://127.0.0.1:5000/#/experiments/{experiment}/runs/{parent}", soft_wrap=True)
    console.print(f"{len(trials)} trials; total {seconds:.1f} s")


def main(arguments: list[str] | None = None) -> int:
    """Run the flow in the project around the current folder; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.tune", description="Search for better train params.")
    parser.parse_args(arguments)
    started = time.monotonic()

    def work(workspace: Workspace) -> int:
        trials, experiment, parent = tune(str(workspace.root))
        _show(workspace, trials, experiment, parent, time.monotonic() - started)
        return 0

    return held(work, ". Finished trials are kept; go on with: make tune")


if __name__ == "__main__":
    sys.exit(main())
