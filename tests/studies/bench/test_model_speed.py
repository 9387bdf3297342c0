"""That the benchmarks run and say what they measured; how fast is `make bench`'s to say, not a test's."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pageopt.config import TrainParams, load
from pageopt.studies.bench import inputs
from pageopt.studies.bench.inputs import Size
from pageopt.studies.bench.page_decision import page_decision
from pageopt.studies.bench.training import training

PARAMS = load(Path(__file__).parents[3] / "params.yaml", TrainParams)
SIZE = Size(modules=12, families=3, slots=2, width=8, embedding=4, vocabulary=50)


@pytest.mark.parametrize("architecture", ["trnn", "mlp", "transformer"])
def test_training_speed_stands_beside_its_matrix_products(architecture):
    found = training(PARAMS, replace(SIZE, architecture=architecture), batch=64, threads=1, repeats=2)
    assert found["pages_per_second"] > 0
    assert math.isclose(
        found["share_of_matrix_products"], found["pages_per_second"] / found["matrix_products_pages_per_second"]
    )
    assert (found["limit"], found["slots"], found["width"], found["threads"]) == (15_000, 2, 8, 1)


def test_page_decision_stands_beside_eager_and_xgboost():
    found = page_decision(replace(SIZE, slots=1), candidates=9, beams=2, calls=40)  # a slot more is a longer export
    assert 0 < found["onnx_p50_ms"] <= found["onnx_p99_ms"]
    assert math.isclose(found["share_of_eager"], found["onnx_p50_ms"] / found["eager_p50_ms"])
    assert math.isclose(found["share_of_xgboost"], found["onnx_p50_ms"] / found["ten_xgboost_scorings_p50_ms"])
    assert (found["candidates"], found["beams"], found["share_of_eager_limit"]) == (9, 2, 0.5)


@pytest.mark.parametrize("architecture", ["trnn", "mlp", "transformer"])
def test_a_network_names_all_products_that_its_forward_pass_makes(architecture):
    """Against what PyTorch counts while the pass runs."""
    size = replace(SIZE, architecture=architecture, slots=5, cardinalities=(3, 6), texts=1)
    model = inputs.model(size)
    encoded = inputs.pages(size, 7)
    page = [torch.from_numpy(value) for value in (encoded.categorical, encoded.numeric, encoded.tokens)]
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(*page, torch.from_numpy(inputs.shown(size, 7)))
    counted = counter.get_total_flops() / 2
    products = model.products(7)
    if architecture == "trnn":  # the fused LSTM is one operation, which the counter does not look into
        shared = products[: -(1 + size.slots)]
        assert counted == sum(n * k * m for n, k, m in shared)
        H, E = size.width, size.embedding
        assert products[len(shared) :] == [(7 * 5, E, 4 * H), *[(7, H, 4 * H)] * 5]
    else:
        assert counted == sum(n * k * m for n, k, m in products)
