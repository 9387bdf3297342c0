import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pageopt.errors import StageError
from pageopt.workflow import repro

PIPELINE = """
stages:
  collect:
    cmd: {python} collect.py
    outs: [raw]
  check:
    cmd: {python} check.py
    deps: [raw]
    outs: [checked]
"""
COLLECT = "open('raw', 'w').write('1'); print('wrote raw')"
CHECK = "import sys; sys.exit('pageopt: no good,\\nfix it')"


@pytest.fixture(scope="module")
def project(tmp_path_factory, init_dvc) -> Path:
    root = tmp_path_factory.mktemp("dvc")
    init_dvc(root)
    (root / "dvc.yaml").write_text(PIPELINE.format(python=sys.executable))
    (root / "collect.py").write_text(COLLECT)
    (root / "check.py").write_text(CHECK)
    return root


def test_stages_run_say_what_they_print_and_are_not_run_again(project: Path, capsys):
    assert repro.stale(project) == ["collect", "check"]
    heard: list[str] = []
    first = repro.repro(project, "collect", heard.append)
    assert (first.name, first.changed) == ("collect", True)
    assert "wrote raw" in heard
    assert not any("git add" in line or "dvc push" in line for line in heard)
    assert "wrote raw" in capsys.readouterr().out
    assert first.peak_mb is not None
    assert first.peak_mb > 10
    assert repro.stale(project) == ["check"]
    assert not repro.repro(project, "collect", heard.append).changed


def test_a_failed_stage_tells_its_own_last_words(project: Path, capsys):
    with pytest.raises(StageError) as failure:
        repro.repro(project, "check", lambda line: None)
    assert str(failure.value) == "Stage 'check' failed.\nno good,\nfix it"
    assert "no good" not in capsys.readouterr().out  # told once, by whoever shows the error


def test_a_folder_that_is_no_project_is_named(tmp_path: Path):
    with pytest.raises(StageError, match="dvc status"):
        repro.stale(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["", '{"write": {', '{"write": {"/x/raw": {"pid": %d, "cmd": "dvc repro"}}, "read": {}}'],
    ids=["empty", "cut off", "process number in use by another program"],
)
def test_locks_that_a_killed_dvc_left_are_freed(project: Path, content: str):
    lock = project / ".dvc" / "tmp" / "rwlock"
    lock.write_text(content.replace("%d", "1").replace("/x", str(project)))
    assert repro.mend_locks(project)
    assert repro.stale(project) == ["check"]
    assert not repro.repro(project, "collect", lambda line: None).changed


def test_locks_of_a_living_dvc_are_left_alone(project: Path):
    lock = project / ".dvc" / "tmp" / "rwlock"
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "dvc", "repro"])
    held = {"read": {}, "write": {"/x/raw": {"pid": sleeper.pid, "cmd": "dvc repro"}}}
    lock.write_text(json.dumps(held))
    assert repro.mend_locks(project) == []
    assert json.loads(lock.read_text()) == held
    sleeper.kill()
    sleeper.wait()
    assert repro.mend_locks(project) == ["/x/raw"]


def test_the_stages_stand_in_an_order_in_which_they_can_run():
    root = Path(__file__).parents[2]
    stages = YAML(typ="safe").load((root / "dvc.yaml").read_text())["stages"]
    assert repro.stages(root) == list(stages)
    made: set[str] = set()
    outs = {out for stage in stages.values() for out in stage["outs"]}
    for name in repro.stages(root):
        assert {dep for dep in stages[name]["deps"] if dep in outs} <= made
        made |= set(stages[name]["outs"])


def test_the_environment_finds_the_commands_of_this_interpreter(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert repro.environment()["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
