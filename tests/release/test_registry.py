import json
import os
import shutil
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pageopt.errors import ReleaseError
from pageopt.release.export import digest
from pageopt.release.registry import PROMOTED, REJECTED, DataSet, Figure, Registry
from pageopt.workspace import Workspace

# MLflow 3.17 maps its tables with an option that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture
def workspace(tmp_path: Path, empty_registry: Path) -> Workspace:
    shutil.copytree(empty_registry, tmp_path / ".pageopt")
    return Workspace(tmp_path)


@pytest.fixture
def client(workspace: Workspace) -> MlflowClient:
    return MlflowClient(workspace.registry_uri, workspace.registry_uri)


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


PAGE = {"platform": "web", "hero_item": {"item_id": "i1", "category": "shoes"}}
TEST = DataSet("test", "evaluation", "data/prepared/test", 600, "0123456789abcdef0123456789abcdef.dir")


def release(registry: Registry, bundle: Path, fingerprint: str, verdict: str = PROMOTED) -> int:
    champion = registry.champion()
    candidate = registry.open(fingerprint)
    version = registry.register(candidate, bundle, PAGE)
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
    kept = {path.suffix or path.name for path in workspace.artifacts.rglob("*") if path.is_file()}
    assert kept == {".onnx", ".json", ".py", ".txt", ".yaml", "MLmodel"}
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_the_registered_bundle_is_the_exported_one_byte_for_byte(registry: Registry, bundle: Path):
    release(registry, bundle, "f1")
    champion = registry.champion()
    assert champion is not None
    assert digest(champion.folder) == digest(bundle)
    said = json.loads((champion.folder.parent / "release.json").read_text())
    assert said == {"model": {"version": 1, "run_id": champion.run_id}, "fingerprint": "f1"}


def test_the_page_of_a_model_says_which_version_it_is(registry: Registry, bundle: Path, client: MlflowClient):
    release(registry, bundle, "f1")
    (model,) = client.search_logged_models(["1"])
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "page-optimizer", "version": "1"}]
    assert model.status == "READY"


def test_what_a_kill_left_of_a_model_is_replaced(registry: Registry, bundle: Path, client: MlflowClient):
    candidate = registry.open("f1")
    left = client.create_logged_model("1", "page-optimizer", candidate.run_id)
    version = registry.register(candidate, bundle, PAGE)
    (model,) = client.search_logged_models(["1"])
    assert model.model_id != left.model_id
    (version.folder.parent / "release.json").unlink()  # as if the kill had come after the version was made
    assert registry.register(candidate, bundle, PAGE) == version
    assert (version.folder.parent / "release.json").is_file()
    assert len(client.search_logged_models(["1"])) == 1


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
    version = registry.register(first, bundle, PAGE)
    again = registry.open("f1")
    assert again.run_id == first.run_id
    assert registry.register(again, bundle, PAGE).number == version.number
    registry.conclude(first.run_id, REJECTED, "slow")
    assert registry.open("f1").run_id == first.run_id
    assert registry.open("f1", again=True).run_id != first.run_id


def test_what_other_interrupted_candidates_left_is_swept(registry: Registry, bundle: Path, client: MlflowClient):
    release(registry, bundle, "f1")
    registry.register(registry.open("f2"), bundle, PAGE)
    assert registry.sweep("f2") == []
    assert registry.sweep("f3") == [2]
    assert [v.number for v in registry.versions()] == [1]
    assert len(client.search_logged_models(["1"])) == 1


def test_a_champion_whose_run_was_killed_before_its_verdict_gets_it(registry: Registry, bundle: Path):
    candidate = registry.open("f1")
    registry.promote(registry.register(candidate, bundle, PAGE), over=None)
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
    version = registry.register(registry.open("f3"), bundle, PAGE)
    registry.rollback(1)
    with pytest.raises(ReleaseError, match="judged against champion 2, but version 1 is champion"):
        registry.promote(version, over=2)
    champion = registry.champion()
    assert champion is not None
    assert champion.number == 1


def test_evidence_is_kept(registry: Registry, client: MlflowClient, tmp_path: Path):
    candidate = registry.open("f1")
    file = tmp_path / "release.json"
    file.write_text("{}")
    registry.log(candidate.run_id, files=[file, tmp_path / "absent"], figures=[], note="Rejected: slow")
    many = {f"train.param_{number}": str(number) for number in range(150)}
    registry.describe(candidate.run_id, {"commit": "abc"}, many, [TEST])
    registry.describe(candidate.run_id, {"commit": "def"}, many | {"train.param_0": "9"}, [TEST])
    found = registry.evidence(candidate.run_id, "release.json")
    assert found is not None
    assert found.read_text() == "{}"
    assert registry.evidence(candidate.run_id, "absent") is None
    run = client.get_run(candidate.run_id)
    assert run.data.params == many  # params are written once
    assert (run.data.tags["pageopt.commit"], run.data.tags["mlflow.note.content"]) == ("def", "Rejected: slow")
    (known,) = run.inputs.dataset_inputs
    assert (known.dataset.name, known.dataset.digest) == (TEST.name, TEST.digest)
    assert json.loads(known.dataset.profile) == {"num_rows": 600}
    assert [tag.value for tag in known.tags] == ["evaluation"]


def test_figures_that_are_logged_again_after_a_kill_stand_once_and_measured_ones_are_the_last(
    registry: Registry, bundle: Path, client: MlflowClient
):
    candidate = registry.open("f1")
    registry.register(candidate, bundle, PAGE)
    of_model = [Figure(f"test/figure {number}", number / 7, data=TEST) for number in range(250)]
    curve = [Figure("loss by epoch/valid click", 1 / epoch, epoch) for epoch in (1, 2)]
    for milliseconds in (9.0, 8.0):
        time.sleep(0.002)
        registry.log(
            candidate.run_id,
            files=[],
            figures=[*of_model, *curve, Figure("latency/p99", milliseconds)],
            note="Promoted",
        )
    (model,) = client.search_logged_models(["1"])
    kept = {metric.key: (metric.value, metric.dataset_name, metric.dataset_digest) for metric in model.metrics}
    assert len(model.metrics) == 250
    assert kept == {figure.name: (figure.value, TEST.name, TEST.digest) for figure in of_model}
    history = client.get_metric_history(candidate.run_id, "loss by epoch/valid click")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5)]
    assert client.get_run(candidate.run_id).data.metrics["latency/p99"] == 8.0
    assert model.tags["mlflow.note.content"] == "Promoted"
    assert client.get_model_version("page-optimizer", "1").description == "Promoted"


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


def test_the_best_version_of_some_days_is_the_surest_gain_among_those_promoted(registry: Registry, bundle: Path):
    gains = {"a": (PROMOTED, 0.1), "b": (PROMOTED, 0.3), "c": (PROMOTED, 0.2), "d": (REJECTED, 0.9)}
    assert registry.best(30) is None
    numbers = {}
    for fingerprint, (verdict, gain) in gains.items():
        numbers[fingerprint] = release(registry, bundle, fingerprint, verdict)
        run = registry.find(fingerprint).run_id
        registry.log(run, files=[], figures=[Figure("quality/CTR over the static page", gain)], note="")
    assert registry.best(30).number == numbers["b"]
    assert registry.best(0) is None
