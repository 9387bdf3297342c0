import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from pageopt.config import SearchParams
from pageopt.errors import ExportError
from pageopt.release.export import TRACED_CANDIDATES, compare, digest, page_onnx, random_inputs
from pageopt.search.graph import INPUT_NAMES, OUTPUT_NAMES, PageGraph
from pageopt.studies.bench import inputs
from pageopt.studies.bench.inputs import Size

# Every slot makes an export longer: there are three only where a network reads the modules above.
SIZE = Size(modules=20, families=4, slots=3, width=8, embedding=4, cardinalities=(3, 6), numerics=2, vocabulary=50)


def _graph(size=SIZE, beam_start=2):
    model = inputs.model(size, seed=1, spread=4.0)
    return PageGraph(model, SearchParams(width=3, beam_start=beam_start, objective="purchase")), model.config


@pytest.fixture(
    scope="module",
    params=[
        {"architecture": "trnn", "above": "chosen"},
        {"architecture": "trnn", "above": "hidden", "slots": 2},
        {"architecture": "mlp", "slots": 2},
        {"architecture": "transformer", "above": "chosen"},
        {"architecture": "transformer", "above": "hidden", "slots": 2},
    ],
    ids=lambda network: "-".join(map(str, network.values())),
)
def exported(request, tmp_path_factory):
    graph, config = _graph(replace(SIZE, **request.param))
    proto = page_onnx(graph, config)
    path = tmp_path_factory.mktemp("graph") / "page.onnx"
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return graph, config, proto, path


def test_agrees_with_pytorch_at_sizes_never_exported(exported):
    graph, config, _, path = exported
    counts = (1, 2, 3, 5, 11, 20)
    assert TRACED_CANDIDATES not in counts
    trial = compare(graph, config, path, 1e-5, counts)
    assert trial.pages == 32 * len(counts)
    assert trial.error <= 1e-6
    assert trial.ties == 0


@pytest.mark.parametrize("pages", [1, 2, 17])
def test_any_number_of_pages(exported, pages):
    graph, config, _, path = exported
    page = random_inputs(config, pages, 9, seed=3)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: value.numpy() for name, value in zip(INPUT_NAMES, page, strict=True)})
    with torch.inference_mode():
        expected = graph(*page)
    assert found[0].dtype == np.int64
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)
    np.testing.assert_allclose(found[2], expected[2], atol=1e-6)


def test_one_file_with_named_inputs_and_no_trace_of_this_machine(exported):
    _, _, proto, path = exported
    assert tuple(each.name for each in proto.graph.input) == INPUT_NAMES
    assert tuple(each.name for each in proto.graph.output) == OUTPUT_NAMES
    assert not any(each.external_data for each in proto.graph.initializer)
    content = path.read_bytes()
    assert b".py" not in content
    assert b"site-packages" not in content


def test_ties_go_to_the_earlier_candidate(exported):
    """The exported graph with the weights at 0 that tell candidates apart, in every slot and of every beam."""
    graph, config, proto, _ = exported
    graph, proto = copy.deepcopy(graph), copy.deepcopy(proto)
    graph.heads.weight.data.zero_()
    graph.fit_of_module.zero_()
    graph.fit_of_page.bias.data.zero_()
    [heads] = (each.name for each in proto.graph.initializer if list(each.dims) == [config.width, 3])
    for each in proto.graph.initializer:
        if each.name in (heads, "fit_of_module", "fit_of_page.bias"):
            each.CopyFrom(onnx.numpy_helper.from_array(np.zeros(each.dims, dtype=np.float32), each.name))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    page = random_inputs(config, 20, 12)
    found = session.run(None, {name: value.numpy() for name, value in zip(INPUT_NAMES, page, strict=True)})
    first = page[INPUT_NAMES.index("available")].numpy().argmax(1)
    np.testing.assert_array_equal(found[0][:, 0], first)
    with torch.inference_mode():
        np.testing.assert_array_equal(found[0], graph(*page)[0])


def test_graph_of_another_model_is_refused(exported):
    _, config, _, path = exported
    same = replace(SIZE, architecture=config.architecture, above=config.above, slots=config.slots)
    other, _ = _graph(same, beam_start=1)
    other.heads.bias.data += 0.5
    with pytest.raises(ExportError, match=r"export\.pass_tolerance"):
        compare(other, config, path, 1e-5, (5,))


def test_broken_nodes_are_found_by_the_checker(exported, monkeypatch):
    graph, config, proto, _ = exported
    broken = copy.deepcopy(proto)
    broken.graph.node[0].op_type = "NoSuchOperator"
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: SimpleNamespace(model_proto=broken))
    with pytest.raises(ExportError, match="NoSuchOperator"):
        page_onnx(graph, config)


def test_digest_names_content_and_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "y").write_text("1")
    assert digest(tmp_path / "a" / "x") == digest(tmp_path / "a" / "x")
    assert digest(tmp_path / "a") != digest(tmp_path / "b")
    before = digest(tmp_path / "a")
    (tmp_path / "a" / "x").write_text("2")
    assert digest(tmp_path / "a") != before
