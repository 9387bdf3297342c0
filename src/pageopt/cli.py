"""The command line: one command a stage, and the commands around them."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated

import typer

from pageopt import telemetry
from pageopt.errors import PageoptError
from pageopt.workspace import Workspace

_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Decides which recommendation modules a page shows. Each stage reads files and params.yaml and writes files; "
    "`dvc repro` runs them in order, `make run` runs them and releases the result.",
)


_STAGES = {
    "collect": "Read the source named in params.yaml into data/raw.",
    "check": "Hold data/raw against the data contract; bad rows go to data/quarantine with a reason.",
    "prepare": "Make features, labels, slot bias, splits and the encoder: data/checked to data/prepared.",
    "simulate_pages": "Draw the fixed pool of page contexts on which candidate and champion are compared.",
    "train": "Train the page model; an interrupted training goes on where it stood.",
    "evaluate": "Estimate what the model's pages would earn on the test split: reports/evaluation.json.",
    "export": "Write model and search as one ONNX graph, with all that the endpoint needs, to models/bundle.",
}


def _stage(module: str) -> Callable[[], None]:
    def run() -> None:  # imported only here: each stage pulls in other heavy libraries
        import_module(f"pageopt.stages.{module}").run(Workspace.find())

    return run


for _name, _help in _STAGES.items():
    _app.command(_name.replace("_", "-"), help=_help)(_stage(_name))


@_app.command()
def coverage(
    logs: Annotated[int, typer.Option(help="independent logs under each law of page effects")] = 30,
    pages: Annotated[int, typer.Option(help="random pages of each log")] = 9000,
    processes: Annotated[int, typer.Option(help="processes that judge them")] = 2,
) -> None:
    """Hold the off-policy estimators against the truth on many simulated logs: reports/coverage.json and .html."""
    from pageopt.studies.coverage.command import coverage as study
    from pageopt.studies.coverage.settings import Settings

    study(Workspace.find(), Settings(logs=logs, pages=pages), processes)


@_app.command()
def gates(
    logs: Annotated[int, typer.Option(help="independent logs")] = 100,
    pages: Annotated[int, typer.Option(help="random pages of each log")] = 42_000,
    processes: Annotated[int, typer.Option(help="processes that judge them")] = 2,
) -> None:
    """Let the quality gate judge candidates whose true worth is known: reports/gates.json."""
    from pageopt.studies.gates.command import gates as study

    study(Workspace.find(), logs, pages, processes)


_experiment = typer.Typer(help="One shop of the experiments; `make experiments` runs them all.")
_app.add_typer(_experiment, name="experiment")
Seed = Annotated[int, typer.Argument(help="of the shop, its log and the training")]


@_experiment.command()
def shop(name: Annotated[str, typer.Argument(help="a name of experiments/shops.yaml")], seed: Seed) -> None:
    """Simulate a shop and its log, train its models and judge their pages: experiments/cells."""
    from pageopt.studies.experiments.shop import run

    run(Workspace.find(), name, seed)


@_experiment.command()
def exploration(seed: Seed) -> None:
    """Run every exploration policy in the shop of a seed: experiments/exploration."""
    from pageopt.studies.experiments.exploration import explore

    explore(Workspace.find(), seed)


@_app.command()
def deps() -> None:
    """Write into dvc.yaml which code each stage runs; needed after an import was added or taken away."""
    from pageopt.workflow.deps import FILES, mend

    root = Workspace.find().root
    for file in FILES:
        for line in mend(root / file):
            print(f"{file}: {line}")


@_app.command()
def configure(
    preset: Annotated[str, typer.Option(help="scale: demo, paper or small")] = "",
    source: Annotated[str, typer.Option(help="where logs come from: simulator, obd or parquet")] = "",
    data: Annotated[str, typer.Option(help="the folder of your own tables, for --source parquet")] = "",
    page: Annotated[str, typer.Option(help="the kind of page: item")] = "",
) -> None:
    """Write a preset, a source and a kind of page into params.yaml (folder presets/), then validate the whole file."""
    from pageopt.presets import configure as write

    write(Workspace.find(), preset=preset, source=source, data=data, page=page)


@_app.command()
def releases() -> None:
    """List the registered versions with their verdicts, and which one is champion."""
    from pageopt.release.commands import releases as show

    show(Workspace.find())


@_app.command()
def rollback(to: Annotated[int, typer.Option(help="the version that users shall get again")]) -> None:
    """Make an earlier promoted version the champion again."""
    from pageopt.release.commands import rollback as go_back

    go_back(Workspace.find(), to)


@_app.command()
def serve(port: Annotated[int, typer.Option(help="port of the loopback interface")] = 3000) -> None:
    """Serve the champion's Bento on this machine."""
    from pageopt.release.commands import serve as start

    start(Workspace.find(), port)


def app() -> None:
    """Entry point: turns our errors into a message and an exit code, and lets the rest through."""
    telemetry.switch_off()
    try:
        _app()
    except PageoptError as error:
        print(f"pageopt: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
