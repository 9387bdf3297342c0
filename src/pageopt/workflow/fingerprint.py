"""What a candidate is made of: data versions, code, params. Equal fingerprints need no second verdict."""

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pageopt.code import PACKAGE, closure
from pageopt.config import read
from pageopt.errors import ReleaseError
from pageopt.workspace import Workspace

# What ships, as a Bento and as an MLflow model, and what judges. Code of the stages shows in what they wrote.
_CODE = ("pageopt.serving.service", "pageopt.release.pyfunc_model", "pageopt.release.gates.judging")
_FILES = ("bentofile.yaml", "serving.lock")
_PARAMS = ("gates", "search")
# Told to people; no gate reads it.
_NOT_EVIDENCE = ("reports/train.json", "reports/metrics/", "reports/plots/")


@dataclass(frozen=True)
class DataVersion:
    """An output of a stage as dvc.lock names it; `md5` finds it in the DVC cache and remote."""

    stage: str
    md5: str
    bytes: int
    files: int


@dataclass(frozen=True)
class Commit:
    """The Git commit of the code; `dirty` if tracked files differ from it. Both unknown outside Git."""

    sha: str | None
    dirty: bool | None


def locked_stages(root: Path) -> dict[str, Any]:
    """The stages as they last ran, by name, from dvc.lock. Raises ReleaseError where there is none."""
    try:
        return YAML(typ="safe").load((root / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    except FileNotFoundError:
        raise ReleaseError(f"{root / 'dvc.lock'} is missing: no stage has run yet. Run: make run") from None


def data_versions(root: Path) -> dict[str, DataVersion]:
    """The outputs of all stages by path. Raises ReleaseError where none has run."""
    return {
        out["path"]: DataVersion(stage, out["md5"], int(out.get("size", 0)), int(out.get("nfiles", 1)))
        for stage, entry in locked_stages(root).items()
        for out in entry.get("outs", ())
    }


def fingerprint(workspace: Workspace, package: Path = PACKAGE) -> str:
    """Sixteen hex digits over every output of the stages, the code that gates and serves, and the gates' limits."""
    root = workspace.root
    code = {str(path): package.parent / path for path in closure(*_CODE, package=package)}
    code |= {name: root / name for name in _FILES if (root / name).is_file()}
    params = read(workspace.params)
    parts: dict[str, object] = {
        "data": {path: v.md5 for path, v in data_versions(root).items() if not path.startswith(_NOT_EVIDENCE)},
        "code": {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in code.items()},
        "params": {name: params.get(name) for name in _PARAMS},
        "model": params.get("release", {}).get("model_name"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def commit(root: Path) -> Commit:
    """The commit of the code in `root`."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    sha = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no")
    return Commit(sha, bool(changes) if changes is not None else None)
