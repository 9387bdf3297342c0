"""`pageopt gates`: run the study, print what was promoted, write reports/gates.json."""

import msgspec
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from pageopt.artefact import Artefact
from pageopt.config import CollectParams, EvaluateParams, GatesParams, load
from pageopt.errors import ConfigError, EvaluationError
from pageopt.studies.gates.candidates import CASES, Case
from pageopt.studies.gates.study import Scale, Trial, repeat
from pageopt.workspace import Workspace


class Promoted(msgspec.Struct, frozen=True):
    """How often a case was promoted, with its Wilson interval at 95 %, and whether that is as often as it must be."""

    share: float
    low: float
    high: float
    least: float
    most: float
    reached: bool
    trials: list[Trial]


class GatesReport(Artefact, frozen=True):
    """reports/gates.json: true CTR of the pages that candidates are made of, and the cases by name."""

    ERROR = EvaluationError
    MEND = "Run: make gates"

    logs: int
    pages: int
    true_ctr: dict[str, float]
    cases: dict[str, Promoted]


def gates(workspace: Workspace, logs: int, pages: int, processes: int) -> None:
    """Judge candidates of known worth in the shop of params.yaml. Raises ConfigError where sizes make no study."""
    if logs < 1 or pages < 100 or processes < 1:
        raise ConfigError(f"A study needs at least 1 log of 100 pages and 1 process, not {logs}, {pages}, {processes}.")
    params, console = workspace.params, Console()
    collect, limits = load(params, CollectParams), load(params, GatesParams).quality
    scale = Scale(logs, pages, collect.seed + 20, collect.simulator, load(params, EvaluateParams), limits)
    true, trials = repeat(scale, processes)
    report = GatesReport(logs, pages, true, {case.name: _promoted(case, trials) for case in CASES})
    report.write(workspace.reports / "gates.json")
    console.print(_table(report))
    console.print(f"Written: {workspace.reports / 'gates.json'}", highlight=False, soft_wrap=True)


def _promoted(case: Case, logs: list[dict[str, Trial]]) -> Promoted:
    trials = [log[case.name] for log in logs]
    count = sum(trial.promoted for trial in trials)
    share, between = count / len(trials), binomtest(count, len(trials)).proportion_ci(0.95, method="wilson")
    low, high = float(between.low), float(between.high)
    return Promoted(share, low, high, case.least, case.most, case.least <= share <= case.most, trials)


def _table(report: GatesReport) -> Table:
    table = Table("candidate", "promoted", "must be", "", title_justify="left")
    table.title = f"What the quality gate promotes, on {report.logs} logs of {report.pages:,} random pages"
    for name, of in report.cases.items():
        must = f"at most {of.most:.0%}" if of.least == 0 else f"at least {of.least:.0%}"
        verdict = "[green]reached[/]" if of.reached else "[red]not reached[/]"
        table.add_row(name, f"{of.share:.0%} ({of.low:.0%} to {of.high:.0%})", must, verdict)
    return table
