"""One run at a time in a workspace, and the remains of a run that was killed.

The lock is the operating system's (flock): a killed run lets go of it at once. A killed run may leave processes behind
(a stage under DVC, a server of a gate, Prefect's server). They carry the run's id in their environment, so the next run
finds exactly them.
"""

import fcntl
import json
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil

from pageopt.errors import ReleaseError

RUN_ID = "PAGEOPT_RUN_ID"


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def remains(run_id: str) -> list[psutil.Process]:
    """Living processes that run `run_id` started, children before their parents."""
    left = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(RUN_ID) == run_id:
                left.append(process)
        except (psutil.Error, OSError):
            continue
    return sorted(left, key=lambda process: process.pid, reverse=True)


def _command(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())}"
    except psutil.Error:
        return str(process.pid)


def end(processes: list[psutil.Process]) -> None:
    """End `processes`; those that do not within five seconds are killed."""
    for process in processes:
        try:
            process.send_signal(signal.SIGTERM)
        except psutil.Error:
            continue
    _, living = psutil.wait_procs(processes, timeout=5)
    for process in living:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(living, timeout=5)


@contextmanager
def run_lock(path: Path) -> Iterator[list[str]]:
    """Hold the workspace's lock file `path`. Yields what was left of a killed run and was ended (command lines).

    Sets the environment variable PAGEOPT_RUN_ID, which every process started inside inherits; inside, it can be entered
    again. Raises ReleaseError that names the holder if another run holds the lock.
    """
    if RUN_ID in os.environ and _read(path).get("run_id") == os.environ[RUN_ID]:
        yield []
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(path)
            raise ReleaseError(
                f"Another run works in this project: process {holder.get('pid', '?')} since "
                f"{holder.get('since', 'just now')} ({path}). Wait until it ends, or end it: "
                f"kill {holder.get('pid', 'PID')}"
            ) from None
        left = remains(str(_read(path)["run_id"])) if "run_id" in _read(path) else []
        commands = [_command(process) for process in left]
        end(left)
        run_id = uuid.uuid4().hex
        since = datetime.now(UTC).isoformat(timespec="seconds")
        file.truncate(0)
        json.dump({"pid": os.getpid(), "since": since, "run_id": run_id}, file)
        file.flush()
        before = os.environ.get(RUN_ID)
        os.environ[RUN_ID] = run_id
        try:
            yield commands
        finally:
            if before is None:
                os.environ.pop(RUN_ID, None)
            else:
                os.environ[RUN_ID] = before
            file.truncate(0)
