import shutil
from pathlib import Path

import pytest

from pageopt.errors import ReleaseError
from pageopt.release.registry import PROMOTED, REJECTED, Registry
from pageopt.workspace import Workspace

# MLflow 3.17 maps its tables with an option that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """A workspace with an empty registry: its database takes seconds to make."""
    root = tmp_path_factory.mktemp("fresh")
    Registry(Workspace(root), "page-optimizer")
    return root


@pytest.fixture
def workspace(tmp_path: Path, fresh: Path) -> Workspace:
    shutil.copytree(fresh / ".pageopt", tmp_path / ".pageopt")
    return Workspace(tmp_path)


@pytest.fixture
def registry(workspace: Workspace) -> Registry:
    return Registry(workspace, "page-optimizer")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "encoder").mkdir(parents=True)
    (folder / "page.onnx").write_bytes(b"graph")
    (folder / "encoder" / "encoder.json").write_text("{}")
    return folder


def release(registry: Registry, bundle: Path, fingerprint: str, verdict: str = PROMOTED) -> int:
    champion = registry.champion()
    candidate = registry.open(fingerprint)
    version = registry.register(candidate, bundle, {"commit": "abc"})
    if verdict == PROMOTED:
        registry.promote(version, over=champion.number if champion else None)
    registry.conclude(candidate.run_id, verdict, "because")
    return version.number


def test_a_registry_exists_once_it_was_made(tmp_path: Path, workspace: Workspace):
    assert Registry.exists(workspace)
    assert not Registry.exists(Workspace(tmp_path / "elsewhere"))


def test_a_database_that_a_kill_left_half_made_is_made_anew(tmp_path: Path):
    workspace = Workspace(tmp_path)
    workspace.state.mkdir()
    (workspace.state / "mlflow.draft").write_bytes(b"half")
    assert not Registry.exists(workspace)
    assert Registry(workspace, "page-optimizer").champion() is None
    assert not (workspace.state / "mlflow.draft").exists()


def test_the_first_release(registry: Registry, bundle: Path):
    assert registry.champion() is None
    assert registry.find("f1") is None
    assert release(registry, bundle, "f1") == 1
    champion = registry.champion()
    assert champion is not None
    assert (champion.number, champion.fingerprint, champion.verdict) == (1, "f1", PROMOTED)
    assert (champion.folder / "page.onnx").read_bytes() == b"graph"
    assert (champion.folder / "encoder" / "encoder.json").is_file()
    known = registry.find("f1")
    assert known is not None
    assert (known.verdict, known.why) == (PROMOTED, "because")


def test_nothing_in_the_registry_is_a_pickle(registry: Registry, bundle: Path, workspace: Workspace):
    release(registry, bundle, "f1")
    kept = {path.suffix for path in workspace.artifacts.rglob("*") if path.is_file()}
    assert kept == {".onnx", ".json"}


def test_a_rejected_candidate_leaves_the_champion(registry: Registry, bundle: Path):
    release(registry, bundle, "f1")
    release(registry, bundle, "f2", REJECTED)
    champion = registry.champion()
    assert champion is not None
    assert champion.number == 1
    assert [(v.number, v.verdict) for v in registry.versions()] == [(2, REJECTED), (1, PROMOTED)]
    with pytest.raises(ReleaseError, match=r"never promoted \(verdict: rejected\).*: 1$"):
        registry.rollback(2)


def test_an_interrupted_candidate_is_taken_up_again(registry: Registry, bundle: Path):
    first = registry.open("f1")
    version = registry.register(first, bundle, {})
    again = registry.open("f1")
    assert again.run_id == first.run_id
    assert registry.register(again, bundle, {}).number == version.number
    registry.conclude(first.run_id, REJECTED, "slow")
    assert registry.open("f1").run_id == first.run_id
    assert registry.open("f1", again=True).run_id != first.run_id


def test_what_other_interrupted_candidates_left_is_swept(registry: Registry, bundle: Path):
    release(registry, bundle, "f1")
    registry.register(registry.open("f2"), bundle, {})
    assert registry.sweep("f2") == []
    assert registry.sweep("f3") == [2]
    assert [v.number for v in registry.versions()] == [1]


def test_a_champion_whose_run_was_killed_before_its_verdict_gets_it(registry: Registry, bundle: Path):
    candidate = registry.open("f1")
    registry.promote(registry.register(candidate, bundle, {}), over=None)
    assert registry.sweep("f2") == []
    champion, known = registry.champion(), registry.find("f1")
    assert champion is not None
    assert known is not None
    assert (champion.verdict, known.verdict) == (PROMOTED, PROMOTED)


def test_rollback_and_forward(registry: Registry, bundle: Path):
    release(registry, bundle, "f1")
    release(registry, bundle, "f2")
    before, now = registry.rollback(1)
    assert before is not None
    assert (before.number, now.number) == (2, 1)
    assert registry.rollback(2)[1].number == 2
    with pytest.raises(ReleaseError, match="no version 9 of page-optimizer; registered: 2, 1"):
        registry.rollback(9)


def test_a_rollback_during_a_run_stops_its_promotion(registry: Registry, bundle: Path):
    release(registry, bundle, "f1")
    release(registry, bundle, "f2")
    version = registry.register(registry.open("f3"), bundle, {})
    registry.rollback(1)
    with pytest.raises(ReleaseError, match="judged against champion 2, but version 1 is champion"):
        registry.promote(version, over=2)
    champion = registry.champion()
    assert champion is not None
    assert champion.number == 1


def test_evidence_is_kept(registry: Registry, tmp_path: Path):
    candidate = registry.open("f1")
    file = tmp_path / "release.json"
    file.write_text("{}")
    registry.log(candidate.run_id, files=[file, tmp_path / "absent"], metrics={"parity/pages": 0.0})
    registry.describe(candidate.run_id, {"commit": "abc"}, {"train.epochs": "3"})
    registry.describe(candidate.run_id, {"commit": "abc"}, {"train.epochs": "4"})  # params are written once
    found = registry.evidence(candidate.run_id, "release.json")
    assert found is not None
    assert found.read_text() == "{}"
    assert registry.evidence(candidate.run_id, "absent") is None


def test_a_project_that_was_moved_keeps_its_releases(workspace: Workspace, bundle: Path, tmp_path: Path):
    release(Registry(workspace, "page-optimizer"), bundle, "f1")
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.move(workspace.state, moved / ".pageopt")
    registry = Registry(Workspace(moved), "page-optimizer")
    champion = registry.champion()
    assert champion is not None
    assert (champion.folder / "page.onnx").is_file()
    assert moved in champion.folder.parents
    release(registry, bundle, "f2")
    champion = registry.champion()
    assert champion is not None
    assert moved in champion.folder.parents
    assert not workspace.state.exists()
