"""What a run says on screen, beyond what its stages print."""

import os

from prefect.client.schemas.objects import State, StateType
from rich.console import Console
from rich.table import Table

from pageopt.errors import Rejected
from pageopt.release.gates.verdict import Verdict
from pageopt.release.record import Release
from pageopt.workspace import Workspace

# Outside a terminal Rich would cut lines at 80 columns.
_console = Console(width=None if os.isatty(1) else 160, highlight=False)


def heading(text: str) -> None:
    """A line that starts a part of the run."""
    _console.print(f"\n[bold]{text}[/bold]")


def note(text: str) -> None:
    """Something that people should know and that stops nothing."""
    _console.print(text, style="yellow", markup=False)


def gate(verdict: Verdict) -> None:
    """One line for one gate, when it is known."""
    sign = "[green]✓[/green]" if verdict.passed else "[red]✗[/red]"
    _console.print(f"{sign} {verdict.name}: ", end="")
    _console.print(verdict.why, markup=False)


def _times(release: Release) -> Table:
    table = Table(title="Time and memory", title_justify="left", box=None, pad_edge=False)
    table.add_column("step")
    table.add_column("seconds", justify="right")
    table.add_column("peak memory", justify="right")
    for step in release.steps:
        memory = f"{step.peak_mb:,.0f} MB" if step.peak_mb else ""
        seconds = f"{step.seconds:.1f}" if step.changed else "unchanged"
        table.add_row(step.name, seconds, memory)
    return table


def _gates(release: Release) -> Table:
    table = Table(title="Gates", title_justify="left", box=None, pad_edge=False)
    for name, justify in (("gate", "left"), ("", "left"), ("value", "right"), ("limit", "right"), ("why", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for gate in release.gates:
        numbers = ["–" if number is None else f"{number:.4g}" for number in (gate.value, gate.limit)]
        table.add_row(gate.name, "passed" if gate.passed else "[red]FAILED[/red]", *numbers, gate.why)
    return table


def end(workspace: Workspace, state: State, seconds: float) -> int:
    """The summary of a finished flow, and its exit code. Raises what the flow raised."""
    if (state.type == StateType.FAILED and state.name != "Rejected") or state.type == StateType.CRASHED:
        state.result(raise_on_failure=True)
    release = Release.read(workspace.reports / "release.json")
    message = state.message or ""
    if message.startswith("Nothing changed"):
        style = "bold green" if state.type == StateType.COMPLETED else "bold red"
        _console.print(f"\n{message}.", style=style, markup=False)
        _console.print(f"total {seconds:.1f} s")
    else:
        _console.print()
        _console.print(_gates(release))
        _console.print()
        _console.print(_times(release))
        _console.print(f"total {seconds:.1f} s\n")
        if state.name == "Rejected":
            champion = release.champion_before
            kept = f"version {champion} stays champion" if champion else "there is no champion"
            _console.print(f"REJECTED; {kept}. {message}", style="bold red", markup=False)
        else:
            model = release.model
            _console.print(f"PROMOTED: {model.name} version {model.version}", style="bold green", markup=False)
    _console.print("Report: reports/release.html (figures: reports/release.json, reports/evaluation.json)")
    database = (workspace.state / "mlflow.db").relative_to(workspace.root)
    _console.print(f"Registry: mlflow ui --backend-store-uri sqlite:///{database} --workers 1")
    if state.name == "Rejected":
        return Rejected.exit_code
    _console.print("Serve it: make serve")
    return 0
