"""Runs the DVC stages of the experiments, several at a time, and says which are done.

`dvc repro` runs stages one after the other, and training here gains less from a second thread than two trainings from a
core each. DVC lets go of its lock while a stage's command runs, so that several can run at once in one project, each
waiting for the lock where it reads or writes DVC's files. That holds for stages whose inputs nobody writes meanwhile:
the caller brings worlds up to date before their cells (`--single-item` leaves upstream stages alone).
"""

import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pageopt.errors import StageError
from pageopt.workflow import repro

FILE = "experiments/dvc.yaml"
_AT_ONCE = 2  # stages of one DVC process: few, so that the last ones are shared evenly; its start takes seconds

OnDone = Callable[[str], None]


def names(root: Path) -> list[str]:
    """Every stage of experiments/dvc.yaml for the seeds in params.yaml, in its order. Raises StageError."""
    return [_name(line) for line in repro.dvc(root, "stage", "list", "--name-only", FILE).split()]


def stale(root: Path) -> list[str]:
    """The stages that DVC would run, such as "world@effects-1", in the order of experiments/dvc.yaml.

    Cells of a stale world are up to date until it has run. Raises StageError.
    """
    return [_name(address) for address in repro.stale(root, FILE)]


def _name(address: str) -> str:
    return address.removeprefix(f"{FILE}:")


def bring_up_to_date(root: Path, stages: Sequence[str], processes: int, on_done: OnDone) -> None:
    """Bring `stages` up to date, `processes` at a time; `on_done` hears of each from another thread.

    What the stages print goes to .pageopt/experiments-<n>.log. After a failure the others end what they have begun.
    Raises StageError with the last lines of the first stage that failed.
    """
    waiting: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
    size = max(1, min(_AT_ONCE, len(stages) // processes))
    for start in range(0, len(stages), size):
        waiting.put(list(stages[start : start + size]))
    failed = threading.Event()
    state = root / ".pageopt"
    state.mkdir(exist_ok=True)

    def work(number: int) -> None:
        with (state / f"experiments-{number}.log").open("w", buffering=1, encoding="utf-8") as log:
            while not failed.is_set():
                try:
                    batch = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    _repro(root, batch, log.write, on_done)
                except BaseException:
                    failed.set()
                    raise

    with ThreadPoolExecutor(processes) as pool:
        for result in [pool.submit(work, number) for number in range(1, processes + 1)]:
            result.result()


def _repro(root: Path, stages: Sequence[str], log: Callable[[str], object], on_done: OnDone) -> None:
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item"]
    lines: list[str] = []
    running: str | None = None
    with subprocess.Popen(
        [*command, *(f"{FILE}:{stage}" for stage in stages)],
        cwd=root,
        env=repro.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or ():
                log(line)
                lines.append(line.rstrip())
                if line.startswith("Running stage '"):
                    if running:
                        on_done(running)
                    running = _name(line.split("'")[1])
            status = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
    if status != 0:
        raise StageError(repro.failure(running or stages[0], lines))
    if running:
        on_done(running)
