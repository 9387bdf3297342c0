import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pageopt.errors import StageError
from pageopt.studies.experiments import runner

WRITE = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.write_text('1'); print('wrote', p)"
MEET = """
import pathlib, sys, time
me, other = (pathlib.Path(name) for name in sys.argv[1:])
me.write_text('1')
while not other.exists():
    time.sleep(0.05)
"""
FAIL = "import sys; sys.exit('pageopt: no good,\\nfix it')"


@pytest.fixture
def project(tmp_path: Path, init_dvc) -> Path:
    init_dvc(tmp_path)
    (tmp_path / "experiments").mkdir()
    for name, code in (("write", WRITE), ("meet", MEET), ("fail", FAIL)):
        (tmp_path / f"{name}.py").write_text(code)
    return tmp_path


def stages(project: Path, **commands: str) -> None:
    """Stages of one output each, which has the name of its stage."""
    made = {
        name: {"cmd": f"{sys.executable} {command}", "outs": [f"experiments/{name}"], "wdir": ".."}
        for name, command in commands.items()
    }
    with (project / "experiments" / "dvc.yaml").open("w") as file:
        YAML(typ="safe").dump({"stages": made}, file)


def test_stages_run_once_and_are_told_of(project):
    stages(project, **{name: f"write.py experiments/{name}" for name in ("a", "b", "c")})
    assert runner.names(project) == runner.stale(project) == ["a", "b", "c"]
    done: list[str] = []
    runner.bring_up_to_date(project, ["a", "c"], 2, done.append)
    assert sorted(done) == ["a", "c"]
    assert runner.stale(project) == ["b"]
    assert "wrote experiments/a" in "".join(path.read_text() for path in (project / ".pageopt").glob("*.log"))


def test_two_stages_run_at_the_same_time(project):
    """Each ends only once the other has begun."""
    stages(project, a="meet.py experiments/a experiments/b", b="meet.py experiments/b experiments/a")
    runner.bring_up_to_date(project, runner.stale(project), 2, lambda stage: None)
    assert runner.stale(project) == []


def test_a_failed_stage_tells_its_last_words_and_the_rest_is_kept(project):
    stages(project, good="write.py experiments/good", bad="fail.py")
    with pytest.raises(StageError) as failure:
        runner.bring_up_to_date(project, ["good", "bad"], 1, lambda stage: None)
    assert str(failure.value) == "Stage 'bad' failed.\nno good,\nfix it"
    assert runner.stale(project) == ["bad"]


def test_a_folder_without_experiments_is_named(tmp_path):
    with pytest.raises(StageError, match=r"dvc status --json experiments/dvc.yaml` failed in"):
        runner.stale(tmp_path)
