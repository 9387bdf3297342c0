import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from pageopt.code import PACKAGE
from pageopt.engine.decide import Decider
from pageopt.errors import ReleaseError
from pageopt.release import bento
from pageopt.release.commands import rollback
from pageopt.release.gates import latency, smoke
from pageopt.release.gates.judging import Judge
from pageopt.release.registry import PROMOTED, Registry, Version
from pageopt.workspace import Workspace

# MLflow 3.17 maps its tables with an option that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

PAGE = {"page": {"platform": "web", "hero_item": {"item_id": "i1", "category": "shoes"}}}
SUMMARY = "Which modules a page shows, top to bottom"


def version(workspace: Workspace, number: int = 7) -> Version:
    return Version(number, "run", "0123456789abcdef", None, None, datetime.now(UTC), workspace.bundle)


@pytest.fixture(scope="module")
def built(maker, tmp_path_factory) -> Workspace:
    workspace = Workspace(Path(shutil.copytree(maker().root, tmp_path_factory.mktemp("bento") / "project")))
    assert bento.build(workspace, version(workspace)) == "page-optimizer:v7-01234567"
    return workspace


def test_a_bento_holds_bundle_version_and_little_else(built: Workspace):
    place = built.bento_home / "bentos" / "page-optimizer" / "v7-01234567"
    assert json.loads((place / "src" / "release.json").read_text())["model"]["version"] == 7
    assert (place / "src" / "bundle" / "page.onnx").read_bytes() == (built.bundle / "page.onnx").read_bytes()
    assert not list(place.rglob("*.pkl"))
    assert not (built.bento_home / "draft").exists()


def test_a_bento_that_is_there_is_not_built_again(built: Workspace):
    marker = built.bento_home / "bentos" / "page-optimizer" / "v7-01234567" / "bento.yaml"
    before = marker.stat().st_mtime_ns
    (built.bento_home / "draft").mkdir()  # what a kill left
    assert bento.build(built, version(built)) == "page-optimizer:v7-01234567"
    assert marker.stat().st_mtime_ns == before


def test_the_champion_is_shown_to_bentoml_whatever_a_kill_left(built: Workspace):
    code, store = built.root / "src", built.bento_home / "bentos" / "page-optimizer"

    def shown() -> tuple[int, bool, str]:
        whole = (code / "bundle" / "page.onnx").read_bytes() == (built.bundle / "page.onnx").read_bytes()
        release = json.loads((code / "release.json").read_text())
        return release["model"]["version"], whole, (store / "latest").read_text()

    bento.expose(built, version(built))
    assert shown() == (7, True, "v7-01234567")
    marker = (code / "bundle" / "page.onnx").stat().st_mtime_ns
    bento.expose(built, version(built))
    assert (code / "bundle" / "page.onnx").stat().st_mtime_ns == marker  # all is as it should be
    # Killed on the way to another version: before its bundle was there, and before its release.json was.
    (code / "release.json").unlink()
    (code / "bundle" / "page.onnx").write_bytes(b"of another version")
    (code / "bundle.draft").mkdir()
    (store / "latest").write_text("v9-elsewhere")
    bento.expose(built, version(built))
    assert shown() == (7, True, "v7-01234567")
    shutil.rmtree(code / "bundle")
    bento.expose(built, version(built))
    assert shown() == (7, True, "v7-01234567")
    assert sorted(path.name for path in code.iterdir()) == ["bundle", "release.json"]


@pytest.mark.parametrize(("step", "at"), [("copytree", 1), ("rename", 1), ("rename", 2), ("replace", 2), ("rmtree", 3)])
def test_a_kill_at_any_step_of_the_switch_leaves_a_whole_bundle_and_no_release_that_is_not_its_own(
    built: Workspace, monkeypatch: pytest.MonkeyPatch, step: str, at: int
):
    """Ended on the way from version 6 to 7; `replace` puts first `latest` and then release.json into place."""
    code = built.root / "src"
    bento.expose(built, version(built))
    (code / "bundle" / "page.onnx").write_bytes(b"whole, of version 6")
    (code / "release.json").write_text('{"model": {"version": 6}}')
    owner, calls = (shutil if hasattr(shutil, step) else Path), []
    real = getattr(owner, step)

    def until_killed(*arguments, **named):
        calls.append(step)
        if len(calls) == at:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(owner, step, until_killed)
    with pytest.raises(KeyboardInterrupt):
        bento.expose(built, version(built))
    monkeypatch.undo()
    whole = {"6": b"whole, of version 6", "7": (built.bundle / "page.onnx").read_bytes()}
    left = [
        path.read_bytes()
        for path in (code / "bundle" / "page.onnx", code / "bundle.old" / "page.onnx")
        if path.exists()
    ]
    assert left
    assert set(left) <= set(whole.values())
    if (code / "release.json").is_file():
        told = json.loads((code / "release.json").read_text())["model"]["version"]
        assert (code / "bundle" / "page.onnx").read_bytes() == whole[str(told)]
    bento.expose(built, version(built))
    assert json.loads((code / "release.json").read_text())["model"]["version"] == 7
    assert (code / "bundle" / "page.onnx").read_bytes() == whole["7"]
    assert sorted(path.name for path in code.iterdir()) == ["bundle", "release.json"]


def test_a_lost_bundle_is_named(built: Workspace, tmp_path: Path):
    lost = Version(8, "run", "fedcba9876543210", None, None, datetime.now(UTC), tmp_path / "gone")
    with pytest.raises(ReleaseError, match="registry lost the bundle of version 8"):
        bento.build(built, lost)


def test_a_bento_that_cannot_start_says_why(built: Workspace):
    place = built.bento_home / "bentos" / "page-optimizer"
    broken = shutil.copytree(place / "v7-01234567", place / "v9-broken")
    (broken / "src" / "bundle" / "page.onnx").unlink()
    with pytest.raises(ReleaseError, match=r"page\.onnx is missing"), bento.serving(built, "page-optimizer:v9-broken"):
        pass


def test_the_bento_answers_as_the_bundle_does_and_bears_load(built: Workspace, monkeypatch):
    judge = Judge(built, None)
    some = latency.largest(judge.pages.fields, judge.pages.candidates)[1]
    assert len(some) == 15
    with bento.serving(built, "page-optimizer:v7-01234567") as url:
        limits = judge.limits.latency.model_copy(update={"http_p99_ms": 10_000, "http_seconds": 0.5})
        judge.limits = judge.limits.model_copy(update={"latency": limits})
        tried, load = judge.bento(url, "7")
        assert tried.passed, tried.why
        assert load.passed, load.why
        assert load.name == "latency over HTTP"
        # Another version, and another model, are not what was meant.
        bodies = smoke.bodies(judge.pages, judge.engine, judge.pages.counts.argsort()[-20:])
        stale = smoke.judge(url, Decider(judge.engine, judge.users, "8"), bodies)
        assert "it serves version 7, not 8" in stale.why
        monkeypatch.setattr(judge.engine, "rank_one", None)  # decides another page: the static one
        assert "the bundle in this process" in smoke.judge(url, Decider(judge.engine, judge.users, "7"), bodies).why
    assert not (built.state / "trial").exists()


# BentoML's own commands


@pytest.fixture(scope="module")
def project(maker: Any, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project with its own code and two promoted versions, whose pages name their policy: first and second."""
    workspace = Workspace(Path(shutil.copytree(maker().root, tmp_path_factory.mktemp("own") / "project")))
    shutil.copytree(PACKAGE, workspace.root / "src" / "pageopt", ignore=shutil.ignore_patterns("__pycache__"))
    registry = Registry(workspace, "page-optimizer")
    facts = json.loads((workspace.bundle / "bundle.json").read_text())
    for fingerprint, policy in (("1" * 16, "first"), ("2" * 16, "second")):
        (workspace.bundle / "bundle.json").write_text(json.dumps(facts | {"policy": policy}))
        champion, candidate = registry.champion(), registry.open(fingerprint)
        version = registry.register(candidate, workspace.bundle, PAGE["page"])
        registry.promote(version, over=champion.number if champion else None)
        registry.conclude(candidate.run_id, PROMOTED, "every gate passed")
        bento.expose(workspace, version)
        mark(workspace.bento_home / "bentos" / "page-optimizer" / f"v{version.number}-{fingerprint[:8]}" / "src")
    mark(workspace.root / "src")
    return workspace


def mark(code: Path) -> None:
    """Let this copy of the code, where it runs, say so in /docs.json."""
    path = code / "pageopt" / "serving" / "operations.py"
    text = path.read_text()
    assert SUMMARY in text
    path.write_text(text.replace(SUMMARY, str(code)))


def start(workspace: Workspace, *command: str, home: Path) -> subprocess.Popen[bytes]:
    """A command of BentoML's in the project's root, whose code stands where the installed package would."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAGEOPT_", "BENTOML_"))}
    own = {"BENTOML_HOME": str(home), "PYTHONPATH": str(workspace.root / "src"), "BENTOML_DO_NOT_TRACK": "True"}
    with (workspace.root / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "bentoml", *command], cwd=workspace.root, env=kept | own, stdout=log, stderr=log
        )


@contextmanager
def serving(workspace: Workspace, *what: str, home: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`bentoml serve` and its address."""
    port = bento.free_port()
    server = start(workspace, "serve", *what, "--port", str(port), home=home)
    try:
        yield server, f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=60)


def answers(workspace: Workspace, *what: tuple[Path, *tuple[str, ...]]) -> list[tuple[str, str, str]]:
    """Version, policy and code of what `bentoml serve` serves from each store."""
    told = []
    with ExitStack() as servers:
        running = [servers.enter_context(serving(workspace, *names, home=home)) for home, *names in what]
        for server, url in running:
            bento.wait_until_ready(server, url, workspace.root / "log.txt")
            answer = httpx.post(f"{url}/rank_page", json=PAGE, trust_env=False).json()
            document = httpx.get(f"{url}/docs.json", trust_env=False).json()
            code = document["paths"]["/rank_page"]["post"]["summary"]
            told.append((answer["model_version"], answer["policy"], code))
    return told


def build(workspace: Workspace, home: Path) -> None:
    """`bentoml build` in the root, which packs what stands there."""
    assert start(workspace, "build", home=home).wait(timeout=120) == 0
    [built] = (home / "bentos" / "page-optimizer").glob("*/src")
    root = workspace.root / "src"
    packed = {Path("release.json"), *(path.relative_to(root) for path in root.glob("pageopt/**/*.py"))}
    packed |= {path.relative_to(root) for path in root.glob("bundle/**/*") if path.is_file()}
    configuration = {Path("bentofile.yaml"), Path("serving.lock")}
    assert {path.relative_to(built) for path in built.rglob("*") if path.is_file()} == packed | configuration
    assert all((built / path).read_bytes() == (root / path).read_bytes() for path in packed)


def test_serve_build_and_latest_are_the_champion_after_a_promotion_and_after_a_rollback(
    project: Workspace, tmp_path: Path
) -> None:
    root, store, latest = project.root / "src", project.bento_home / "bentos" / bento.NAME, f"{bento.NAME}:latest"
    build(project, tmp_path / "first")
    assert answers(project, (tmp_path / "first",), (project.bento_home, latest)) == [
        ("2", "second", str(root)),
        ("2", "second", str(store / "v2-22222222" / "src")),
    ]
    rollback(project, to=1)
    build(project, tmp_path / "second")
    both = (tmp_path / "second",), (project.bento_home, latest)
    assert answers(project, *both, (tmp_path / "second", latest)) == [
        ("1", "first", str(root)),
        ("1", "first", str(store / "v1-11111111" / "src")),
        ("1", "first", str(root)),  # packed as it was
    ]
