"""That the benchmarks run and say what they measured; how fast is `make bench`'s to say, not a test's."""

import math

from pageopt.bench.inputs import Size
from pageopt.bench.page_decision import page_decision
from pageopt.bench.training import training

SIZE = Size(modules=12, families=3, slots=2, width=8, embedding=4, vocabulary=50)


def test_training_speed_stands_beside_its_matrix_products():
    found = training(SIZE, batch=64, threads=1, repeats=2)
    assert found["pages_per_second"] > 0
    assert math.isclose(
        found["share_of_matrix_products"], found["pages_per_second"] / found["matrix_products_pages_per_second"]
    )
    assert (found["limit"], found["slots"], found["width"], found["threads"]) == (15_000, 2, 8, 1)


def test_page_decision_stands_beside_eager_and_xgboost():
    found = page_decision(SIZE, candidates=9, beams=2, calls=40)
    assert 0 < found["onnx_p50_ms"] <= found["onnx_p99_ms"]
    assert math.isclose(found["share_of_eager"], found["onnx_p50_ms"] / found["eager_p50_ms"])
    assert math.isclose(found["share_of_xgboost"], found["onnx_p50_ms"] / found["ten_xgboost_scorings_p50_ms"])
    assert (found["candidates"], found["beams"], found["share_of_eager_limit"]) == (9, 2, 0.5)
