"""Runs the retraining flow on a schedule, for as long as this process lives.

    python -m flows.schedule --cron "0 4 * * *"      every night at four, UTC

Runs and their logs are kept by a Prefect server; start one and name it, and they can be watched in its UI:

    prefect server start
    PREFECT_API_URL=http://127.0.0.1:4200/api python -m flows.schedule --cron "0 4 * * *"

For fresh logs only, set gates.data.max_age_days in params.yaml: a run on old logs is then rejected, and says so.
"""

import argparse
import sys

from flows.retrain import retrain
from pageopt.errors import PageoptError
from pageopt.workspace import Workspace


def main(arguments: list[str] | None = None) -> int:
    """Serve the flow until the process is ended."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.schedule", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cron", required=True, help="when to run, in UTC, as minute hour day month weekday")
    options = parser.parse_args(arguments)
    try:
        root = str(Workspace.find().root)
    except PageoptError as error:
        print(f"pageopt: {error}", file=sys.stderr)
        return error.exit_code
    # One at a time: a second run would only be told that the project is locked.
    retrain.serve(name="retrain", cron=options.cron, parameters={"root": root}, limit=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
