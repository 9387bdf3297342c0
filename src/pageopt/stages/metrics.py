"""The few numbers of a stage that `dvc metrics diff` and `dvc exp show` compare; its report has all of them."""

import json
from collections.abc import Mapping

from pageopt.workspace import Workspace


def write_metrics(workspace: Workspace, stage: str, values: Mapping[str, float | None]) -> None:
    """Write reports/metrics/<stage>.json. What is not known is left out: DVC would compare None with a number."""
    file = workspace.reports / "metrics" / f"{stage}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    known = {name: value for name, value in values.items() if value is not None}
    file.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
