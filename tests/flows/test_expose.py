"""What a run says of a champion that BentoML's own commands cannot be shown."""

import shutil
from pathlib import Path

import pytest

from pageopt.release.registry import PROMOTED, Registry
from pageopt.workspace import Workspace

# MLflow 3.17 maps its tables with an option that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


def test_a_champion_whose_files_are_lost_is_noted_and_stops_nothing(
    tmp_path: Path, empty_registry: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # flows are run in a project's root, and installed nowhere
    from flows.retrain import Run, _expose

    workspace = Workspace(tmp_path)
    shutil.copytree(empty_registry, workspace.state)
    workspace.bundle.mkdir(parents=True)
    (workspace.bundle / "page.onnx").write_bytes(b"graph")
    registry = Registry(workspace, "page-optimizer")
    _expose(Run(workspace, registry))
    assert capsys.readouterr().out == ""
    candidate = registry.open("0123456789abcdef")
    page = {"platform": "web", "hero_item": {"item_id": "i1", "category": "shoes"}}
    version = registry.register(candidate, workspace.bundle, page)
    registry.promote(version, over=None)
    registry.conclude(candidate.run_id, PROMOTED, "every gate passed")
    shutil.rmtree(version.folder)
    _expose(Run(workspace, registry))
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("BentoML's own commands do not find the champion: The registry lost the bundle of version 1")
    assert not (tmp_path / "src" / "bundle").exists()
