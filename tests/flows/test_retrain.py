"""The whole flow, once through its life: first release, nothing new, kills, second release, rejection, rollback.

A step takes up to a minute and starts where the one before ended, so each is a fixture that asks for the one before it
and notes what it left. The tests look at those notes: any of them can be run alone, and in any order.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from pageopt.release import bento
from pageopt.workspace import Workspace

pytestmark = [pytest.mark.flow, pytest.mark.filterwarnings("ignore")]


@dataclass(frozen=True)
class After:
    """What a run said, and what it left."""

    code: int
    output: str
    champion: int | None
    versions: int
    left_over: list[str]
    reports: dict[str, bytes]
    exposed: int | None  # the version that BentoML's own commands find

    @property
    def release(self) -> dict:
        return json.loads(self.reports["release.json"])


def _run(project, **how) -> After:
    ended = project.run(**how)
    left_over = project.left_over()
    reports = {path.name: path.read_bytes() for path in (project.root / "reports").iterdir() if path.is_file()}
    exposed = project.root / "src" / "release.json"
    version = json.loads(exposed.read_text())["model"]["version"] if exposed.is_file() else None
    return After(ended.code, ended.output, *project.releases(), left_over, reports, version)


@pytest.fixture(scope="module")
def first(project) -> After:
    return _run(project, ephemeral=True)


@pytest.fixture(scope="module")
def served(project, first) -> tuple[dict, str]:
    """An answer of what `pageopt serve` serves, and what it printed."""
    port = bento.free_port()
    server = subprocess.Popen(
        ["pageopt", "serve", "--port", str(port)],
        cwd=project.root,
        env=project._environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        bento.wait_until_ready(server, f"http://127.0.0.1:{port}", Path(os.devnull))
        page = {"platform": "web", "hero_item": {"item_id": "i1", "category": "shoes"}}
        answer = httpx.post(f"http://127.0.0.1:{port}/rank_page", json={"page": page}, trust_env=False).json()
    finally:
        server.terminate()
        output = server.communicate(timeout=60)[0]
    return answer, output


@pytest.fixture(scope="module")
def unchanged(project, served) -> After:
    shutil.rmtree(project.root / "src" / "bundle")  # as a kill between promotion and report may leave it
    return _run(project)


@pytest.fixture(scope="module")
def pulled(project, unchanged) -> tuple[list[str], list[str]]:
    """The files of data/raw before cache and workspace are lost, and after `dvc pull`."""
    raw = project.root / "data" / "raw"

    def files() -> list[str]:
        return sorted(path.name for path in raw.rglob("*.parquet"))

    before = files()
    assert project.call("rm", "-rf", "data/raw", ".dvc/cache").code == 0
    done = project.call(sys.executable, "-m", "dvc", "pull", "-q")
    assert done.code == 0, done.output
    return before, files()


def _running(stage: str) -> Callable[[Path, str], bool]:
    return lambda root, output: f"Running stage '{stage}'" in output


def _registering(root: Path, output: str) -> bool:
    return (
        "drift: " in output
        and len(list((root / ".pageopt" / "artifacts" / "models").glob("*/artifacts/data/bundle"))) > 1
    )


def _building(root: Path, output: str) -> bool:
    return (root / ".pageopt" / "bentoml" / "draft").is_dir()


KILLS = {"train": _running("train"), "export": _running("export"), "register": _registering, "Bento build": _building}


@pytest.fixture(scope="module")
def killed(project, pulled) -> dict[str, tuple[str, int | None, dict]]:
    """What runs of a new candidate said until each was killed, the champion then, and what its Bento says it is."""
    project.set(train__seed=2)
    notes = {}
    for where, reached in KILLS.items():
        output = project.kill_when(reached)
        bentos = Workspace(project.root).bento_home / "bentos" / "page-optimizer"
        (folder,) = (path for path in bentos.iterdir() if path.name.startswith("v1-"))
        assert (folder / "bento.yaml").is_file()
        notes[where] = (output, project.releases()[0], json.loads((folder / "src" / "release.json").read_text()))
    return notes


@pytest.fixture(scope="module")
def second(project, killed) -> After:
    return _run(project)


@pytest.fixture(scope="module")
def rejected(project, second) -> After:
    project.set(gates__latency__p99_ms=1e-6)
    return _run(project)


@pytest.fixture(scope="module")
def rolled_back(project, rejected) -> tuple[str, str, After]:
    """What the rollback said, the list of releases then, and the run after it."""
    project.set(gates__latency__p99_ms=1000)
    said, listed = (project.call("pageopt", *command).output for command in (("rollback", "--to", "1"), ("releases",)))
    return said, listed, _run(project)


@pytest.fixture(scope="module")
def failed(project, rolled_back) -> After:
    project.set(check__slots=99)
    project.set(collect__simulator__modules=1)
    return _run(project)


def test_the_first_run_promotes(first):
    assert first.code == 0, first.output
    assert "PROMOTED: page-optimizer version 1" in first.output
    assert "Traceback" not in first.output
    release = first.release
    assert release["verdict"] == "promoted"
    assert [gate["name"] for gate in release["gates"]] == [
        "data",
        "quality",
        "parity",
        "latency",
        "drift",
        "smoke test",
        "latency over HTTP",
    ]
    assert all(gate["passed"] and gate["why"] for gate in release["gates"])
    assert (release["model"]["name"], release["model"]["version"]) == ("page-optimizer", 1)
    assert release["champion_before"] is None
    gates = {gate["name"]: gate for gate in release["gates"]}
    assert "no champion" in gates["drift"]["why"]
    assert release["data"]["data/raw"]["md5"].endswith(".dir")
    assert len(release["code"]["sha"]) == 40
    steps = {step["name"]: step for step in release["steps"]}
    assert steps["train"]["peak_mb"] > 50
    assert steps["train"]["changed"]
    assert first.champion == 1
    assert first.left_over == []


def test_the_verdict_on_the_first_candidate_agrees_with_the_truth(first):
    """The interval of the CTR by DR lies above that of the static page, and the truth, which the simulator knows."""
    quality = next(gate for gate in first.release["gates"] if gate["name"] == "quality")
    ctr = next(check for check in quality["checks"] if check["limit"] is not None)
    assert quality["why"] == ctr["why"]
    assert ctr["name"] == "CTR over the static page"
    assert ctr["value"] > ctr["limit"] == 0
    evaluation = json.loads(first.reports["evaluation.json"])
    assert evaluation["differences"]["trnn - static"]["true_ctr"]["value"] > 0
    assert "release.html" in first.reports


def test_the_promoted_bento_serves(served):
    answer, output = served
    assert answer["model_version"] == "1"
    assert [module["slot"] for module in answer["modules"]] == [1, 2, 3]
    assert output.startswith("Serving version 1 (page-optimizer:v1-")


def test_nothing_changed(first, unchanged):
    assert unchanged.code == 0, unchanged.output
    assert "Nothing changed since" in unchanged.output
    assert "version 1 is champion" in unchanged.output
    assert unchanged.versions == 1
    assert unchanged.reports["release.json"] == first.reports["release.json"]


def test_data_of_the_release_is_in_the_remote(pulled):
    """dvc push was done by the run: the data comes back after the cache and the workspace are lost."""
    before, after = pulled
    assert before
    assert after == before


@pytest.mark.parametrize("where", KILLS)
def test_a_kill_leaves_the_champion_and_its_bento_whole(killed, where):
    output, champion, release = killed[where]
    assert "PROMOTED" not in output
    assert champion == 1
    assert release["model"]["version"] == 1


def test_the_run_after_the_kills_finishes(second):
    assert second.code == 0, second.output
    assert "PROMOTED: page-optimizer version 2" in second.output
    assert second.release["champion_before"] == 1
    drift = next(gate for gate in second.release["gates"] if gate["name"] == "drift")
    assert len(drift["checks"]) == 7
    assert "drift.html" in second.reports
    assert (second.champion, second.versions) == (2, 2)
    assert second.left_over == []


def test_a_rejected_candidate_exits_3_with_its_reason(rejected):
    assert rejected.code == 3, rejected.output
    assert "REJECTED; version 2 stays champion" in rejected.output
    assert "latency: a page of" in rejected.output
    assert "Traceback" not in rejected.output
    release = rejected.release
    assert (release["verdict"], release["bento"]) == ("rejected", None)
    assert [gate["name"] for gate in release["gates"] if not gate["passed"]] == ["latency"]
    assert (rejected.champion, rejected.versions) == (2, 2)


def test_after_a_rollback_the_same_candidate_is_not_promoted_again(rolled_back):
    said, listed, after = rolled_back
    assert "Version 1 is champion; it was version 2" in said
    versions = [line for line in listed.splitlines() if line[:1].isdigit()]
    assert [(line.split()[0], "← champion" in line) for line in versions] == [("2", False), ("1", True)]
    assert after.code == 0, after.output
    assert "(promoted): version 1 is champion" in after.output
    assert (after.champion, after.versions) == (1, 2)
    assert after.release["model"]["version"] == 2


def test_bentomls_own_commands_find_the_champion_after_every_run(
    project, first, unchanged, second, rejected, rolled_back
):
    runs = [first, unchanged, second, rejected, rolled_back[-1]]
    assert [run.exposed for run in runs] == [run.champion for run in runs] == [1, 1, 2, 2, 1]
    assert (project.root / "src" / "bundle" / "page.onnx").is_file()


def test_a_stage_that_fails_tells_why_without_a_traceback(failed):
    assert failed.code == 1, failed.output
    assert "Stage 'collect' failed." in failed.output
    assert "Traceback" not in failed.output
    assert failed.champion == 1
