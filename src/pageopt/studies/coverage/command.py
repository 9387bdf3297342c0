"""`pageopt coverage`: run the study, print its tables, write its reports."""

import time

from rich.console import Console

from pageopt.errors import ConfigError
from pageopt.evaluation.policy_value import METRICS
from pageopt.studies.coverage import report, study
from pageopt.studies.coverage.settings import Settings
from pageopt.workspace import Workspace


def coverage(workspace: Workspace, settings: Settings, processes: int) -> None:
    """Run the study of `settings` in so many processes. Raises ConfigError where sizes make no study."""
    if settings.logs < 2 or settings.pages < 100 or processes < 1:
        raise ConfigError(
            f"A coverage study needs at least 2 logs of 100 pages and 1 process, not {settings.logs}, "
            f"{settings.pages} and {processes}."
        )
    console = Console()
    begin = time.perf_counter()
    outcomes = study.repeat(settings, processes)
    report.write(workspace.reports, outcomes, settings, time.perf_counter() - begin)
    for law, of in outcomes.items():
        for metric in METRICS:
            console.print(report.table(law, metric, of))
    for target in report.targets(outcomes):
        verdict = "[green]reached[/]" if target.reached else "[red]not reached[/]"
        console.print(f"{target.what}: {target.value:.3f}, {target.limit}: {verdict}", highlight=False)
    console.print(f"Written: {workspace.reports / 'coverage.html'}", highlight=False, soft_wrap=True)
