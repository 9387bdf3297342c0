"""Stage export on a model and prepared files that are written here."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from pageopt.config import SearchParams, TrainParams, load
from pageopt.engine.page_engine import PageEngine
from pageopt.errors import ConfigError, ContractError, ExportError
from pageopt.features.counters import CounterLayout
from pageopt.features.encoder import Encoder
from pageopt.features.store.snapshot import write_snapshot
from pageopt.models.common.training import seeded
from pageopt.models.item.network import PageNetwork, above_mode, load_network
from pageopt.problems.fields import Field
from pageopt.release.export import first_load
from pageopt.search.graph import PageGraph, decide
from pageopt.stages import export
from pageopt.workspace import Workspace

ROOT = Path(__file__).parents[2]
FAMILIES = ("a", "b", "c")
MODULES = {"module_id": [f"m{n:02}" for n in range(9)], "family": [FAMILIES[n % 3] for n in range(9)]}
PAGES = {"platform": ["app", "web"] * 10, "hero_title": ["red shoe", None] * 10, "hero_price": [5.0, 80.0] * 10}
FIELDS = (
    Field("platform", "categorical", "page"),
    Field("hero_title", "text", "item"),
    Field("hero_price", "numeric", "item"),
)
SEARCH = SearchParams(width=4, beam_start=2, objective="purchase")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return _exported(tmp_path_factory.mktemp("project"), "trnn", slots=2)


def _prepared(folder: Path, modules: dict[str, list[str]], slots: int = 2) -> Encoder:
    encoder = Encoder.fit(
        FIELDS,
        PAGES,
        (Field("family", "categorical", "module"),),
        modules,
        slots=slots,
        min_count=1,
        title_tokens=4,
        vocabulary=10,
    )
    encoder.save(folder / "encoder")
    ctr = np.linspace(0.1, 0.5, len(modules["module_id"]))
    pq.write_table(pa.table({**modules, "ctr": ctr}), folder / "modules.parquet")
    return encoder


def _exported(root: Path, architecture: str, slots: int) -> Workspace:
    """Each slot makes the export longer."""
    workspace = Workspace(root)
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["train"].update({"architecture": architecture, "width": 8, "embedding": 4})
    params["search"].update(SEARCH.model_dump())
    with workspace.params.open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    prepared = workspace.prepared
    encoder = _prepared(prepared, MODULES, slots)
    layout = CounterLayout(
        (24.0,), ("click",), ("shoes",), lifts={"family": dict.fromkeys(FAMILIES, 0.1)}, lift_half_lives_hours=(24,)
    )
    write_snapshot(prepared / "users.sqlite", [], layout, reference_us=0, declared=())
    settings = load(workspace.params, TrainParams)
    above = above_mode(settings, single_slots=False)
    model = seeded(lambda: PageNetwork.from_encoder(encoder, settings, above, ("click", "purchase")), 1)
    model.start_from({"click": 0.1, "purchase": 0.02})
    model.save(workspace.model)
    export.run(workspace)
    return workspace


def test_bundle_is_what_serving_reads(workspace):
    assert {path.name for path in workspace.bundle.iterdir()} == {"page.onnx", "encoder", "users.sqlite", "bundle.json"}
    facts = json.loads((workspace.bundle / "bundle.json").read_text(encoding="utf-8"))
    assert (facts["slots"], facts["width"], facts["beam_start"], facts["objective"]) == (2, 4, 2, "purchase")
    assert facts["static_page"] == list(range(8, -1, -1))
    assert facts["trained_heads"] == ["click", "purchase"]
    assert facts["policy"] == PageEngine(workspace.bundle).policy == "trnn"


@pytest.mark.parametrize("architecture", ["mlp", "transformer"])
def test_any_network_becomes_a_bundle(tmp_path, architecture):
    workspace = _exported(tmp_path, architecture, slots=1)
    engine = PageEngine(workspace.bundle)
    assert engine.policy == architecture
    graph = PageGraph(load_network(workspace.model), SEARCH)
    encoded = Encoder.load(workspace.prepared / "encoder").encode(PAGES)
    candidates = np.tile(np.arange(9), (20, 1))
    expected, found = decide(graph, encoded, candidates), engine.rank_batch(PAGES, candidates)
    np.testing.assert_array_equal(found.modules, expected.modules)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    engine = PageEngine(workspace.bundle)
    encoder = Encoder.load(workspace.prepared / "encoder")
    candidates = np.array([[4, 2, 8, -1], [0, 3, 6, 1]])
    fields = {name: values[:2] for name, values in PAGES.items()}
    served = engine.rank_batch(fields, candidates)
    graph = PageGraph(load_network(workspace.model), SEARCH)
    expected = decide(graph, encoder.encode(fields), candidates)
    np.testing.assert_array_equal(served.modules, expected.modules)
    np.testing.assert_allclose(served.probabilities, expected.probabilities, atol=1e-6)
    assert not served.probabilities[..., 1].any()  # nothing taught the model about intent


def test_exporting_again_gives_the_same_bytes(workspace):
    files = [path for path in sorted(workspace.bundle.rglob("*")) if path.is_file()]
    before = [path.read_bytes() for path in files]
    (workspace.bundle / "left-over").touch()
    export.run(workspace)
    assert [path.read_bytes() for path in files] == before
    assert not (workspace.bundle / "left-over").exists()


def test_broken_bundle_fails_at_first_load(workspace, tmp_path):
    broken = shutil.copytree(workspace.bundle, tmp_path / "bundle")
    (broken / "page.onnx").write_bytes(b"\x08\x0anonsense")
    with pytest.raises(ExportError, match=r"exit code 1 and said: .*page\.onnx"):
        first_load(broken)


def _elsewhere(workspace, folder) -> Workspace:
    shutil.copytree(workspace.root, folder)
    return Workspace(folder)


def test_model_of_other_modules_is_refused(workspace, tmp_path):
    other = _elsewhere(workspace, tmp_path / "other")
    _prepared(other.prepared, {name: column[:2] for name, column in MODULES.items()})
    with pytest.raises(ExportError, match="trained on other data"):
        export.run(other)


def test_modules_of_another_encoder_are_refused(workspace, tmp_path):
    other = _elsewhere(workspace, tmp_path / "other")
    pq.write_table(pa.table({"module_id": ["x"], "ctr": [0.1]}), other.prepared / "modules.parquet")
    with pytest.raises(ContractError, match=r"modules\.parquet lists other modules than the encoder"):
        export.run(other)


def test_objective_without_labels_is_refused(workspace, tmp_path):
    other = _elsewhere(workspace, tmp_path / "other")
    text = other.params.read_text(encoding="utf-8")
    other.params.write_text(text.replace("objective: purchase", "objective: intent"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"search\.objective"):
        export.run(other)
