"""Waits for the schedule and starts the retraining flow. Prefect reads its settings when this is imported."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import Any

import httpx
from prefect import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner

from flows.retrain import retrain

_NAME = "retrain"


class _Runner(Runner):
    """A runner that can be ended at any moment: Prefect's own handler calls a coroutine that it does not await."""

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        sys.exit(0)


@contextlib.contextmanager
def _paused_at_the_end() -> Iterator[None]:
    """Pause the schedule whenever the block ends: the server would go on to call for runs that nobody makes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        # A server that ended with us, or a deployment that was not made yet, has nothing to pause.
        with contextlib.suppress(httpx.TransportError, ObjectNotFound), get_client(sync_client=True) as client:
            client.pause_deployment(client.read_deployment_by_name(f"{retrain.name}/{_NAME}").id)


@contextlib.contextmanager
def _ended_quietly() -> Iterator[None]:
    """Prefect leaves by SystemExit when it is terminated; what it comes wrapped in would end in a traceback."""
    try:
        yield
    except BaseExceptionGroup as group:
        others = group.split(SystemExit)[1]
        if others is not None:
            raise others from None
    except KeyboardInterrupt:
        print("Ended; the schedule is paused.", flush=True)


def run_on_schedule(cron: str, root: str) -> None:
    """Serve the flow for the project at `root` until this process is ended, then pause its schedule."""
    with _ended_quietly(), _paused_at_the_end():
        # One at a time: a second run would only be told that the project is locked.
        runner = _Runner(name=_NAME, limit=1, pause_on_shutdown=False)
        runner.add_flow(retrain, name=_NAME, cron=cron, parameters={"root": root})
        asyncio.run(runner.start())
