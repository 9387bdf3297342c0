import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pageopt.errors import ReleaseError
from pageopt.workflow.run_lock import RUN_ID, run_lock

HOLD = """
import subprocess, sys, time
from pathlib import Path
from pageopt.workflow.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True)
    print(child.pid, flush=True)
    time.sleep(120)
"""


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run.lock")], stdout=subprocess.PIPE, text=True
    )
    child = int(process.stdout.readline())
    yield process, child
    process.kill()
    process.wait()
    process.stdout.close()
    if psutil.pid_exists(child):
        psutil.Process(child).kill()


def test_a_second_run_is_told_who_holds_the_lock(tmp_path: Path, holder):
    process, child = holder
    with (
        pytest.raises(ReleaseError, match=rf"process {process.pid} since 20.*kill {process.pid}"),
        run_lock(tmp_path / "run.lock"),
    ):
        pass
    assert psutil.pid_exists(child)


def test_a_killed_run_lets_go_and_its_processes_are_ended(tmp_path: Path, holder):
    process, child = holder
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process.kill()
    process.wait()
    with run_lock(tmp_path / "run.lock") as left:
        assert [line.split()[0] for line in left] == [str(child)]
        assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_the_lock_can_be_entered_again_inside_and_is_free_afterwards(tmp_path: Path):
    path = tmp_path / "state" / "run.lock"
    with run_lock(path) as left:
        assert left == []
        assert json.loads(path.read_text())["pid"] == os.getpid()
        with run_lock(path) as inner:
            assert inner == []
    assert RUN_ID not in os.environ
    assert path.read_text() == ""
    with run_lock(path):
        pass


def test_a_lock_file_that_was_cut_off_does_no_harm(tmp_path: Path):
    path = tmp_path / "run.lock"
    path.write_text('{"pid": 12')
    with run_lock(path) as left:
        assert left == []
