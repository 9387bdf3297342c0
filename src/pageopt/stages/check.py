"""Stage check: data/raw to data/checked, data/quarantine, reports/check.json and metrics/check.json."""

import shutil

from rich.console import Console
from rich.table import Table

from pageopt import contract
from pageopt.check.findings import CheckReport, Shape
from pageopt.check.logs import CheckedLogs, check_logs
from pageopt.config import CheckParams, FeatureParams, PageParams, load
from pageopt.errors import ContractError
from pageopt.problems.all import problem_of
from pageopt.stages.metrics import write_metrics
from pageopt.workspace import Workspace


def run(workspace: Workspace) -> None:
    """Part good rows from bad ones. Raises ContractError, after all is written, above the share of bad rows allowed."""
    params = load(workspace.params, CheckParams)
    tables = contract.tables(load(workspace.params, FeatureParams))
    for folder in (workspace.checked, workspace.quarantine):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    console = Console()
    with console.status("Checking") as status:
        logs = check_logs(
            workspace.raw,
            workspace.checked,
            workspace.quarantine,
            workspace.state / "scratch" / "check",
            tables,
            problem_of(load(workspace.params, PageParams).problem).subject,
            params.slots,
            progress=lambda table: status.update(f"Checking {table}"),
        )
    _write(workspace, logs)
    write_metrics(workspace, "check", {"pages": logs.rows["pages"], "bad_share": logs.bad_share})
    _summary(console, workspace, logs)
    _judge(workspace, logs, params.max_bad_share)


def _write(workspace: Workspace, logs: CheckedLogs) -> None:
    shape = Shape(logs.slots, logs.rows, logs.first_page_ts, logs.last_page_ts, logs.last_event_ts)
    shape.write(workspace.checked / "shape.json")
    report = CheckReport(logs.rows, logs.quarantined, logs.bad_share, logs.ignored)
    report.write(workspace.reports / "check.json")


def _summary(console: Console, workspace: Workspace, logs: CheckedLogs) -> None:
    view = Table("table", "good rows", "quarantined", "why", title=f"Checked: {logs.slots} slots")
    for name, rows in logs.rows.items():
        reasons = logs.quarantined[name]
        why = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
        view.add_row(name, f"{rows:,}", f"{sum(reasons.values()):,}", why)
    console.print(view)
    for name, columns in logs.ignored.items():
        if columns:
            console.print(
                f"{name}: columns {', '.join(columns)} are left out; declare them under features.{name} in params.yaml "
                "to use them.",
                highlight=False,
                soft_wrap=True,
            )


def _judge(workspace: Workspace, logs: CheckedLogs, max_bad_share: float) -> None:
    if logs.bad_share > max_bad_share:
        worst = {table: next(iter(reasons.items())) for table, reasons in logs.quarantined.items() if reasons}
        table, (reason, count) = max(worst.items(), key=lambda entry: entry[1][1])
        # a bad row takes those down that refer to it, so the cause may be in a table with fewer bad rows
        others = [f"{t}: '{why}' {rows:,}" for t, (why, rows) in worst.items() if t != table]
        elsewhere = f" (in other tables, where the cause may be: {'; '.join(others)})" if others else ""
        bad = sum(sum(reasons.values()) for reasons in logs.quarantined.values())
        raise ContractError(
            f"{bad:,} of {bad + sum(logs.rows.values()):,} rows ({logs.bad_share:.1%}) break the data contract, more "
            f"than check.max_bad_share = {max_bad_share:.1%} allows. Most frequent: {count:,} rows of {table}, "
            f"'{reason}'{elsewhere}. Each bad row stands in {workspace.quarantine} with its reason: mend the source "
            "and collect again, or raise the limit in params.yaml."
        )
    for table in ("pages", "impressions"):
        if not logs.rows[table]:
            raise ContractError(f"No row of {table} keeps the data contract. See {workspace.quarantine}.")
