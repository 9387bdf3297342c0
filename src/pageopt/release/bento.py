"""The endpoint of a registered version as a Bento: built, shown to BentoML's own commands, and run."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import httpx

from pageopt.code import copy
from pageopt.errors import ReleaseError
from pageopt.features.store.base import AS_IT_STANDS
from pageopt.release.registry import Version
from pageopt.workspace import Workspace

NAME = "page-optimizer"
_ENTRY = "pageopt.serving.service"
_READY_SECONDS = 120


def tag_of(version: Version) -> str:
    """The tag of a version's Bento."""
    return f"{NAME}:v{version.number}-{version.fingerprint[:8]}"


def _store(workspace: Workspace, tag: str) -> Path:
    name, _, version = tag.partition(":")
    return workspace.bento_home / "bentos" / name / version


def _environment(home: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "BENTOML_HOME": str(home), "PYTHONWARNINGS": "ignore", **more}


def build(workspace: Workspace, version: Version) -> str:
    """Build the Bento of `version` unless the store has it, and return its tag.

    It is built in a draft store and moved into the real one whole: a kill leaves no half-built Bento behind. Raises
    ReleaseError with BentoML's own words.
    """
    tag = tag_of(version)
    place = _store(workspace, tag)
    if (place / "bento.yaml").is_file():
        return tag
    if not (version.folder / "page.onnx").is_file():
        raise ReleaseError(f"The registry lost the bundle of version {version.number}: {version.folder} is not there.")
    home = workspace.bento_home / "draft"
    shutil.rmtree(home, ignore_errors=True)
    # Not below .pageopt: BentoML reads nothing from hidden folders.
    with tempfile.TemporaryDirectory(prefix="pageopt-bento-") as context:
        _fill(Path(context), workspace, version)
        build_it = [sys.executable, "-m", "bentoml", "build", "--version", place.name, "--output", "tag", context]
        # From its own code, not the installed package's: what is missing there is missed now.
        environment = _environment(home, PYTHONPATH=f"{context}/src")
        done = subprocess.run(build_it, cwd=context, env=environment, capture_output=True, text=True, check=False)
    built = home / "bentos" / NAME / place.name
    if done.returncode != 0 or not (built / "bento.yaml").is_file():
        words = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise ReleaseError(f"The Bento of version {version.number} could not be built:\n{words}")
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    built.rename(place)
    shutil.rmtree(home)
    return tag


def _fill(context: Path, workspace: Workspace, version: Version) -> None:
    """What bentofile.yaml expects beside it: serving.lock, and in src what serving imports, bundle and release.json."""
    code = context / "src"
    copy(_ENTRY, code)
    shutil.copytree(version.folder, code / "bundle")
    for name in ("bentofile.yaml", "serving.lock"):
        if not (workspace.root / name).is_file():
            raise ReleaseError(f"{workspace.root / name} is missing. Take it from the repository: git checkout {name}")
        shutil.copyfile(workspace.root / name, context / name)
    (code / "release.json").write_text(json.dumps(version.as_json()), encoding="utf-8")


def expose(workspace: Workspace, version: Version) -> None:
    """Make `version` what BentoML's own commands find: `latest` in its store, bundle and release.json in src.

    Each is put in its place whole, and release.json comes last: where it names a version, the bundle is that version's.
    The bundle before it stands aside until then, so that there is a whole one at any time. What is already so is left
    alone, and what a kill left undone is done by the next call.
    """
    bento = _store(workspace, build(workspace, version))
    _put(bento.parent / "latest", bento.name.encode())
    bundle, release = workspace.root / "src" / "bundle", workspace.root / "src" / "release.json"
    said = (bento / "src" / release.name).read_bytes()
    draft, old = bundle.with_suffix(".draft"), bundle.with_suffix(".old")
    if not (bundle.is_dir() and release.is_file() and release.read_bytes() == said):
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(bento / "src" / bundle.name, draft)
        release.unlink(missing_ok=True)
        if bundle.is_dir():
            shutil.rmtree(old, ignore_errors=True)
            bundle.rename(old)
        draft.rename(bundle)
        _put(release, said)
    shutil.rmtree(old, ignore_errors=True)


def _put(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".draft")
    draft.write_bytes(content)
    draft.replace(path)


def _command(tag: str, port: int) -> list[str]:
    """Serves a Bento on this machine only."""
    return [sys.executable, "-m", "bentoml", "serve", tag, "--host", "127.0.0.1", "--port", str(port)]


def serve(workspace: Workspace, version: Version, port: int) -> NoReturn:
    """Become BentoML's server of `version`, in the project's root."""
    expose(workspace, version)
    os.chdir(workspace.root)
    os.execve(sys.executable, _command(tag_of(version), port), _environment(workspace.bento_home))


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(workspace: Workspace, tag: str) -> Iterator[str]:
    """Serve a Bento on a free port while the block runs; yields its address.

    Its events go to a file of their own, thrown away afterwards, and users are as their snapshot has them. Raises
    ReleaseError with the server's last words if it does not become ready.
    """
    scratch = workspace.state / "trial"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = scratch / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(tag, port),
            cwd=scratch,
            env=_environment(
                workspace.bento_home,
                PAGEOPT_EVENTS=str(scratch / "events.sqlite"),
                PAGEOPT_SERVED="",
                PAGEOPT_AT=str(AS_IT_STANDS),
                PAGEOPT_BUNDLE="",
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its workers can be ended with it
        )
        try:
            wait_until_ready(process, url, log)
            yield url
        finally:
            _end(process)
            shutil.rmtree(scratch, ignore_errors=True)


def wait_until_ready(process: subprocess.Popen[Any], url: str, log: Path) -> None:
    """Return once the server at `url` is ready. Raises ReleaseError with its last words from `log` if it is not."""
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end:
        try:
            if httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.1)
    words = log.read_text(encoding="utf-8", errors="replace")[-3000:]
    state = (
        f"ended with code {process.returncode}"
        if process.poll() is not None
        else f"was not ready in {_READY_SECONDS} s"
    )
    raise ReleaseError(f"The Bento's server {state}:\n{words}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
