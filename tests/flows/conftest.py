"""A copy of the project at its smallest scale, and runs of the flow in it as `make run` starts them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from pageopt.workflow.run_lock import RUN_ID
from pageopt.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
CODE = ("src", "flows", "presets", "data/inbox", ".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore")
FILES = ("dvc.yaml", "params.yaml", "bentofile.yaml", "serving.lock", "pyproject.toml")
# The preset `small` judges clicks and drift for real. In two thirds of its pages a model finds little of what is
# personal; where the page shows all that draws a visitor, the bound on the gain in clicks lies far above 0. Time is not
# judged: the suite runs beside other work.
SMALLER = {
    "collect.simulator.pages": 40_000,
    "collect.simulator.slots": 3,
    "collect.simulator.personal": 0.0,
    "collect.simulator.mood": 0.0,
    "collect.simulator.off_mission": 0.0,
    "train.epochs": 4,
    "evaluate.bootstrap": 100,
    "evaluate.reward_model.rounds": 30,
    "release.model_name": "page-optimizer",
    "gates.latency.p99_ms": 1000,
    "gates.latency.http_p99_ms": 5000,
    "gates.latency.http_seconds": 0.5,
    "gates.latency.ratio_to_champion": 20,
}


@dataclass(frozen=True)
class Ended:
    """A run that came to its end."""

    code: int
    output: str


class Project:
    """A project of its own, with its own state, whose code runs instead of the installed package."""

    def __init__(self, root: Path, api_url: str) -> None:
        self.root = root
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != RUN_ID},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(root / "src"),
            "PREFECT_API_URL": api_url,
        }

    def set(self, **params: object) -> None:
        """Change params.yaml; dots of a name are written as two underscores."""
        self.set_all({name.replace("__", "."): value for name, value in params.items()})

    def set_all(self, params: dict[str, object]) -> None:
        editor = YAML()
        content = editor.load(self.root / "params.yaml")
        for name, value in params.items():
            *sections, key = name.split(".")
            section = content
            for each in sections:
                section = section[each]
            assert key in section
            section[key] = value
        editor.dump(content, self.root / "params.yaml")

    def call(self, *command: str, ephemeral: bool = False) -> Ended:
        environment = dict(self._environment)
        if ephemeral:
            del environment["PREFECT_API_URL"]
        done = subprocess.run(
            command, cwd=self.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return Ended(done.returncode, done.stdout)

    def run(self, *arguments: str, ephemeral: bool = False) -> Ended:
        return self.call(sys.executable, "-m", "flows.retrain", *arguments, ephemeral=ephemeral)

    def kill_when(
        self, reached: Callable[[Path, str], bool], patience: float = 240, flow: str = "flows.retrain"
    ) -> str:
        """Start a run, kill -9 its process (and no other) once `reached(root, output so far)`; returns the output."""
        log = self.root / "killed.log"
        with log.open("w") as output:
            run = subprocess.Popen(
                [sys.executable, "-m", flow],
                cwd=self.root,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            end = time.monotonic() + patience
            try:
                while not reached(self.root, log.read_text()):
                    assert run.poll() is None, f"it ended before it could be killed:\n{log.read_text()}"
                    assert time.monotonic() < end, f"it did not get there:\n{log.read_text()}"
                    time.sleep(0.02)  # looked at too often, it would take half a core from what it waits for
            finally:
                run.send_signal(signal.SIGKILL)
                run.wait()
        return log.read_text()

    def releases(self) -> tuple[int | None, int]:
        """The champion's number and how many versions there are."""
        from pageopt.release.registry import Registry

        registry = Registry(Workspace(self.root), "page-optimizer")
        champion = registry.champion()
        return (champion.number if champion else None), len(registry.versions())

    def left_over(self) -> list[str]:
        """Processes that work in this project."""
        found = []
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()) == self.root or self.root in Path(process.cwd()).parents:
                    found.append(" ".join(process.cmdline()))
            except (psutil.Error, OSError):
                continue
        return found


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """One Prefect server for all runs: each would wait ten seconds for one of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        from prefect.settings import PREFECT_API_URL
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=120):
            yield PREFECT_API_URL.value()


@pytest.fixture(scope="session")
def project_class() -> type[Project]:
    """For tests that make a project of another kind."""
    return Project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Project:
    root = tmp_path_factory.mktemp("project")
    for name in (*CODE, *FILES):
        source, target = REPOSITORY / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "bundle", "release.json"))
        else:
            shutil.copyfile(source, target)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.com"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run([*git, *arguments], cwd=root, check=True)
    project = Project(root, prefect_api)
    assert project.call("pageopt", "configure", "--preset", "small").code == 0
    project.set_all(SMALLER)
    return project
