"""Runs the retraining flow on a schedule, for as long as this process lives.

    python -m flows.schedule --cron "0 4 * * *"      every night at four, UTC

It starts a Prefect server on this machine (http://127.0.0.1:4200, where runs and their logs can be watched), unless
PREFECT_API_URL names one. For fresh logs only, set gates.data.max_age_days in params.yaml: a run on old logs is then
rejected, and says so.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx

from pageopt.errors import ConfigError, PageoptError, ReleaseError
from pageopt.workspace import Workspace

_HOST, _PORT = "127.0.0.1", "4200"
_API = "PREFECT_API_URL"
_READY_SECONDS = 120


@contextlib.contextmanager
def _server() -> Iterator[None]:
    """A Prefect server while the block runs: the one that flows start for themselves does not keep schedules."""
    if os.environ.get(_API):
        yield
        return
    url = f"http://{_HOST}:{_PORT}/api"
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", _HOST, "--port", _PORT],
        stdout=subprocess.DEVNULL,
    )

    def end_both(*_: object) -> None:
        process.terminate()
        os._exit(0)

    # Until the runner has its own handler: a server that was just started would outlive us.
    signal.signal(signal.SIGTERM, end_both)
    try:
        end = time.monotonic() + _READY_SECONDS
        while not _healthy(url):
            if process.poll() is not None or time.monotonic() > end:
                raise ReleaseError(
                    f"Prefect's server did not start on port {_PORT}. If one runs there, name it: {_API}={url}"
                )
            time.sleep(0.5)
        os.environ[_API] = url
        print(f"Runs can be watched on http://{_HOST}:{_PORT}", flush=True)
        yield
    finally:
        process.terminate()
        process.wait()


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _check(cron: str) -> None:
    """Raise ConfigError unless Prefect can read the cron line."""
    from prefect.client.schemas.schedules import CronSchedule  # seconds, which --help need not wait for

    try:
        CronSchedule(cron=cron)
    except ValueError:
        raise ConfigError(
            f"--cron '{cron}' is not minute, hour, day of month, month and weekday. Every night at four: '0 4 * * *'."
        ) from None


def main(arguments: list[str] | None = None) -> int:
    """Serve the flow until the process is ended."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.schedule", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cron", required=True, help="when to run, in UTC, as minute hour day month weekday")
    options = parser.parse_args(arguments)
    try:
        root = str(Workspace.find().root)
        _check(options.cron)
        with _server():
            from flows.scheduled_runner import run_on_schedule  # Prefect reads which server to use when imported

            run_on_schedule(options.cron, root)
    except PageoptError as error:
        print(f"pageopt: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
