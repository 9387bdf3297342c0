"""Waits for the schedule and starts the retraining flow. Prefect reads its settings when this is imported."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import httpx
from prefect import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner

from flows.retrain import retrain

_NAME = "retrain"


class _Runner(Runner):
    """A runner that leaves signals to the event loop: Prefect's own handler drops a coroutine without awaiting it."""

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        """Nothing here: the loop's handler, which hears of the signal as well, cancels the runner."""


@contextlib.contextmanager
def _paused_at_the_end() -> Iterator[None]:
    """Pause the schedule whenever the block ends: the server would go on to call for runs that nobody makes."""
    try:
        yield
    finally:
        # A server that ended with us, or a deployment that was not made yet, has nothing to pause.
        with contextlib.suppress(httpx.TransportError, ObjectNotFound), get_client(sync_client=True) as client:
            client.pause_deployment(client.read_deployment_by_name(f"{retrain.name}/{_NAME}").id)


async def _serve(cron: str, root: str) -> None:
    """Serve the flow until SIGTERM cancels it, as asyncio itself does for Ctrl-C.

    A handler that raises would not do: Python runs it between any two steps of the main thread, and what is raised
    within a destructor is dropped.
    """
    serving = asyncio.current_task()
    assert serving is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    # One at a time: a second run would only be told that the project is locked.
    runner = _Runner(name=_NAME, limit=1, pause_on_shutdown=False)
    await runner.aadd_flow(retrain, name=_NAME, cron=cron, parameters={"root": root})
    await runner.start()


def run_on_schedule(cron: str, root: str) -> None:
    """Serve the flow for the project at `root` until this process is ended, then pause its schedule."""
    try:
        with _paused_at_the_end():
            asyncio.run(_serve(cron, root))
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("Ended; the schedule is paused.", flush=True)
