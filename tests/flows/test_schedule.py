"""The schedule, on a real Prefect server: the deployment is there with its cron line, and ends with the process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

REPOSITORY = Path(__file__).parents[2]

pytestmark = [pytest.mark.flow, pytest.mark.filterwarnings("ignore")]


def _deployments(api: str) -> list[dict]:
    return httpx.post(f"{api}/deployments/filter", json={}, timeout=30, trust_env=False).json()


def test_the_flow_is_scheduled_for_as_long_as_the_process_lives(prefect_api: str, tmp_path: Path) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    environment = os.environ | {"PREFECT_API_URL": prefect_api, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'src'}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.schedule", "--cron", "0 4 * * *"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        end = time.monotonic() + 120
        while not (found := _deployments(prefect_api)):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.5)
        deployment = found[0]
        assert deployment["name"] == "retrain"
        assert [each["schedule"]["cron"] for each in deployment["schedules"]] == ["0 4 * * *"]
        assert deployment["parameters"] == {"root": str(tmp_path)}
        assert not deployment["paused"]
    finally:
        # At once, before Prefect's runner polls: it is ended then, too, and leaves no schedule behind.
        process.terminate()
        output = process.communicate(timeout=60)[0]
    assert "Traceback" not in output
    assert _deployments(prefect_api)[0]["paused"]


def test_a_wrong_cron_line_is_told(tmp_path: Path, prefect_api: str) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    environment = os.environ | {"PREFECT_API_URL": prefect_api, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'src'}"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.schedule", "--cron", "every night"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "every night" in done.stderr
    assert "Traceback" not in done.stderr
