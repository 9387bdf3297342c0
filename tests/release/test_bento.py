import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pageopt.errors import ReleaseError
from pageopt.release import bento
from pageopt.release.gates import latency, smoke
from pageopt.release.gates.judging import Judge
from pageopt.release.registry import Version
from pageopt.workspace import Workspace


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
        stale = smoke.judge(url, judge.engine, "8", bodies)
        assert "it serves version 7, not 8" in stale.why
        monkeypatch.setattr(judge.engine, "rank_one", None)  # decides another page: the static one
        assert "the bundle in this process" in smoke.judge(url, judge.engine, "7", bodies).why
    assert not (built.state / "trial").exists()
