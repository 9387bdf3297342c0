"""Time and peak memory of the batch stages on a simulated log, each stage a process of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pageopt.config import apply
from pageopt.errors import PageoptError
from pageopt.workspace import Workspace

STAGES = ("collect", "check", "prepare")


@dataclass(frozen=True)
class StageCost:
    """Wall time and the largest resident size of one stage."""

    seconds: float
    peak_gib: float


def _cost_of(stage: str, folder: Path) -> StageCost:
    log = folder / f"{stage}.log"
    started = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(  # wait4 below reaps it, since only that tells its peak memory
            [sys.executable, "-m", "pageopt", stage], cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise PageoptError(f"Stage {stage} failed in the benchmark:\n{log.read_text()[-2000:]}")
    return StageCost(time.perf_counter() - started, usage.ru_maxrss / 1024**2)


def measure(workspace: Workspace, pages: int) -> dict[str, StageCost]:
    """Cost of every batch stage at the paper's shape (200 modules, 20 families, 10 slots) and `pages` pages."""
    with tempfile.TemporaryDirectory(prefix="pageopt-bench-") as name:
        folder = Path(name)
        for file in ("params.yaml", "dvc.yaml"):
            shutil.copy(workspace.root / file, folder / file)
        for overlay in ("simulator", "paper"):
            apply(folder / "params.yaml", workspace.root / "presets" / f"{overlay}.yaml")
        scale = folder / "scale.yaml"
        scale.write_text(f"collect: {{simulator: {{pages: {pages}, users: {max(pages // 50, 100)}}}}}\n")
        apply(folder / "params.yaml", scale)
        return {stage: _cost_of(stage, folder) for stage in STAGES}
