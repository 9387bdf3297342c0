"""Runs DVC stages, each in a process of its own, and says what they took.

DVC is called as a program with an explicit working directory: its Python API needs chdir, which is unsafe in threads of
a flow. DVC decides what is stale; nothing here caches.
"""

import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from ruamel.yaml import YAML

from pageopt.errors import StageError

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]")
_SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Step:
    """One step of a run: seconds, and where it was a process of its own the peak resident memory, in 10^6 bytes."""

    name: str
    seconds: float
    peak_mb: float | None = None
    changed: bool = True


def environment() -> dict[str, str]:
    """The environment of a stage: this interpreter's folder comes first, so that `pageopt` is the one beside it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # Without a terminal Rich takes 80 columns, and breaks tables.
    return {"COLUMNS": "120", **os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


def dvc(root: Path, *arguments: str) -> str:
    """What `dvc` prints in `root`. Raises StageError with its complaint."""
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StageError(f"`dvc {' '.join(arguments)}` failed in {root}:\n{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def stages(root: Path) -> list[str]:
    """The stages of dvc.yaml in its order, which is one in which they can run."""
    return list(YAML(typ="safe").load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"])


def stale(root: Path, file: str = "dvc.yaml") -> list[str]:
    """Stages of `file` that DVC would run, in its order. One below a stale one may turn out unchanged."""
    return list(json.loads(dvc(root, "status", "--json", file) or "{}"))


def push(root: Path) -> None:
    """Send the data of dvc.lock to the default remote. Raises StageError."""
    dvc(root, "push", "--quiet")


def mend_locks(root: Path) -> list[str]:
    """Remove what a killed DVC left in its lock of files, and return the paths that were freed.

    DVC drops entries of processes that are gone, but not those whose process number another program has by now, and it
    stops at a lock file that was cut off while it was written. To be called where no other run can be under way.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    try:
        locks = json.loads(path.read_text(encoding="utf-8"))
        held = {**locks.get("write", {}), **locks.get("read", {})}
        holders = [*locks.get("write", {}).values(), *(one for many in locks.get("read", {}).values() for one in many)]
    except FileNotFoundError:
        return []
    except (ValueError, AttributeError, TypeError):
        held, holders = {str(path): None}, []
    if not held or any(_is_dvc(holder) for holder in holders):
        return []
    path.unlink(missing_ok=True)
    return sorted(held)


def _is_dvc(holder: dict[str, object]) -> bool:
    try:
        return "dvc" in " ".join(psutil.Process(int(str(holder["pid"]))).cmdline())
    except (psutil.Error, KeyError, ValueError, TypeError):
        return False


class _PeakMemory(threading.Thread):
    """Samples the resident memory of a process and all below it."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = threading.Event()
        self.bytes = 0

    def run(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            try:
                top = psutil.Process(self._pid)
                family = [top, *top.children(recursive=True)]
            except psutil.Error:
                continue
            total = 0
            for process in family:
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
            self.bytes = max(self.bytes, total)

    def end(self) -> None:
        self._ended.set()
        self.join()


def _chunks(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # a terminal whose other side is closed
            return
        if not chunk:
            return
        yield chunk


def repro(root: Path, stage: str, on_line: Callable[[str], None]) -> Step:
    """Bring `stage` (and what it rests on) up to date. Every line printed goes to stdout and, plain, to `on_line`.

    On a terminal the stage gets one of its own, so that its progress bars work. Raises StageError.
    """
    interactive = sys.stdout.isatty()
    reader, writer = pty.openpty() if interactive else os.pipe()
    started = time.monotonic()
    command = [sys.executable, "-m", "dvc", "repro", stage]
    env = environment()
    if interactive:
        size = os.get_terminal_size()
        env |= {"COLUMNS": str(size.columns), "LINES": str(size.lines)}
    process = subprocess.Popen(
        command, cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.STDOUT
    )
    os.close(writer)
    memory = _PeakMemory(process.pid)
    memory.start()
    lines: list[str] = []
    try:
        pending = b""
        for chunk in _chunks(reader):
            if interactive:
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
            *whole, pending = (pending + chunk).split(b"\n")
            for raw in whole:
                _take(raw, lines, on_line, echo=not interactive)
        if pending:
            _take(pending, lines, on_line, echo=not interactive)
        status, peak = _wait(process)
    finally:
        os.close(reader)
        memory.end()
        if process.returncode is None:
            process.terminate()
            process.wait()
    if status != 0:
        raise StageError(failure(stage, lines))
    changed = any(line.startswith(f"Running stage '{stage}'") for line in lines)
    seconds = round(time.monotonic() - started, 2)
    return Step(stage, seconds, round(max(memory.bytes, peak) / 1e6, 1), changed)


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Exit status, and the peak resident memory in bytes of the largest process of the tree."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return process.returncode, usage.ru_maxrss * unit


# What DVC says around the stage's own words, of no use inside a flow.
_CHATTER = re.compile(
    r"^(To track the changes|To enable auto staging|\s+git add |\s+dvc config core\.autostage|Use `dvc push`|"
    r"Updating lock file|Generating lock file|> pageopt|Stage '.*' didn't change|Data and pipelines are up to date)"
)


def _take(raw: bytes, lines: list[str], on_line: Callable[[str], None], *, echo: bool) -> None:
    line = _ESCAPES.sub("", raw.decode("utf-8", errors="replace")).rstrip("\r").rsplit("\r", 1)[-1].rstrip()
    lines.append(line)
    # A stage's error is its last word and becomes the message of StageError: it is not told twice.
    if line and not _CHATTER.match(line) and not any(line.startswith("pageopt: ") for line in lines[-20:]):
        if echo:
            print(line, flush=True)
        on_line(line)


def failure(stage: str, lines: Sequence[str]) -> str:
    """The stage's own last words: from its message `pageopt: …` on, else its last lines."""
    words = [line for line in lines if line and not line.startswith("ERROR: failed to reproduce")]
    starts = [number for number, line in enumerate(words) if line.startswith("pageopt: ")]
    told = words[starts[-1] :] if starts else words[-15:]
    return f"Stage '{stage}' failed.\n" + "\n".join(told).removeprefix("pageopt: ")
