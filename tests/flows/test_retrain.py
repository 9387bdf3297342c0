"""The whole flow, once through its life: first release, nothing new, kills, second release, rejection, rollback.

The tests share one project and build on each other, in the order in which they stand: a run takes a minute.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from pageopt.release import bento
from pageopt.workspace import Workspace

pytestmark = [pytest.mark.flow, pytest.mark.filterwarnings("ignore")]


def test_the_first_run_promotes(project):
    ended = project.run(ephemeral=True)
    assert ended.code == 0, ended.output
    assert "PROMOTED: page-optimizer version 1" in ended.output
    assert "Traceback" not in ended.output
    release = project.release()
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
    # The interval of the CTR by DR lies above that of the static page, and the truth, which the simulator knows, does.
    ctr = next(check for check in gates["quality"]["checks"] if check["limit"] is not None)
    assert ctr["value"] > ctr["limit"] == 0
    evaluation = json.loads((project.root / "reports" / "evaluation.json").read_text())
    assert evaluation["differences"]["trnn - static"]["true_ctr"]["value"] > 0
    assert release["data"]["data/raw"]["md5"].endswith(".dir")
    assert len(release["code"]["sha"]) == 40
    steps = {step["name"]: step for step in release["steps"]}
    assert steps["train"]["peak_mb"] > 50
    assert steps["train"]["changed"]
    assert (project.root / "reports" / "release.html").is_file()
    assert project.champion() == 1
    assert project.left_over() == []


def test_the_promoted_bento_serves(project):
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
        bento._wait_until_ready(server, f"http://127.0.0.1:{port}", Path(os.devnull))
        page = {"platform": "web", "hero_item": {"item_id": "i1", "category": "shoes"}}
        answer = httpx.post(f"http://127.0.0.1:{port}/rank_page", json={"page": page}, trust_env=False).json()
        assert answer["model_version"] == "1"
        assert [module["slot"] for module in answer["modules"]] == [1, 2, 3, 4]
    finally:
        server.terminate()
        output = server.communicate(timeout=60)[0]
    assert output.startswith("Serving version 1 (pageopt:v1-")


def test_nothing_changed(project):
    before = (project.root / "reports" / "release.json").read_bytes()
    ended = project.run()
    assert ended.code == 0, ended.output
    assert "Nothing changed since" in ended.output
    assert "version 1 is champion" in ended.output
    assert project.versions() == 1
    assert (project.root / "reports" / "release.json").read_bytes() == before


def test_data_of_the_release_is_in_the_remote(project):
    """dvc push was done by the run: the data comes back after the cache and the workspace are lost."""
    raw = project.root / "data" / "raw"
    rows = sorted(path.name for path in raw.rglob("*.parquet"))
    assert project.call("rm", "-rf", "data/raw", ".dvc/cache").code == 0
    pulled = project.call(sys.executable, "-m", "dvc", "pull", "-q")
    assert pulled.code == 0, pulled.output
    assert sorted(path.name for path in raw.rglob("*.parquet")) == rows


def _running(stage: str):
    return lambda root, output: f"Running stage '{stage}'" in output


def _registering(root: Path, output: str) -> bool:
    return "drift: " in output and len(list((root / ".pageopt" / "artifacts").glob("*/artifacts/bundle"))) > 1


def _building(root: Path, output: str) -> bool:
    return (root / ".pageopt" / "bentoml" / "draft").is_dir()


@pytest.mark.parametrize(
    "reached",
    [_running("train"), _running("export"), _registering, _building],
    ids=["train", "export", "register", "Bento build"],
)
def test_a_kill_leaves_the_champion(project, reached):
    project.set(train__seed=2)
    output = project.kill_when(reached)
    assert "PROMOTED" not in output
    assert project.champion() == 1
    # What users are served is whole.
    workspace = Workspace(project.root)
    folder = next(path for path in (workspace.bento_home / "bentos" / "pageopt").iterdir() if path.name[:3] == "v1-")
    assert (folder / "bento.yaml").is_file()
    assert json.loads((folder / "src" / "release.json").read_text())["model"]["version"] == 1


def test_the_run_after_the_kills_finishes(project):
    ended = project.run()
    assert ended.code == 0, ended.output
    assert "PROMOTED: page-optimizer version 2" in ended.output
    release = project.release()
    assert release["champion_before"] == 1
    drift = next(gate for gate in release["gates"] if gate["name"] == "drift")
    assert len(drift["checks"]) == 7
    assert (project.root / "reports" / "drift.html").is_file()
    assert (project.champion(), project.versions()) == (2, 2)
    assert project.left_over() == []


def test_a_rejected_candidate_exits_3_with_its_reason(project):
    project.set(gates__latency__p99_ms=1e-6)
    ended = project.run()
    assert ended.code == 3, ended.output
    assert "REJECTED; version 2 stays champion" in ended.output
    assert "latency: a page of" in ended.output
    assert "Traceback" not in ended.output
    release = project.release()
    assert (release["verdict"], release["bento"]) == ("rejected", None)
    assert [gate["name"] for gate in release["gates"] if not gate["passed"]] == ["latency"]
    assert (project.champion(), project.versions()) == (2, 2)


def test_after_a_rollback_the_same_candidate_is_not_promoted_again(project):
    project.set(gates__latency__p99_ms=1000)
    assert "Version 1 is champion; it was version 2" in project.call("pageopt", "rollback", "--to", "1").output
    ended = project.run()
    assert ended.code == 0, ended.output
    assert "(promoted): version 1 is champion" in ended.output
    assert (project.champion(), project.versions()) == (1, 2)
    assert project.release()["model"]["version"] == 2


def test_a_stage_that_fails_tells_why_without_a_traceback(project):
    project.set(check__slots=99)
    project.set(collect__simulator__modules=1)
    ended = project.run()
    assert ended.code == 1, ended.output
    assert "Stage 'collect' failed." in ended.output
    assert "Traceback" not in ended.output
    assert project.champion() == 1
