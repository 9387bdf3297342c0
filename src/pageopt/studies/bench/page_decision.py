"""Time of one page decision: the exported graph, PyTorch eager, and ten XGBoost scorings of the same candidates."""

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
import xgboost

from pageopt.config import SearchParams
from pageopt.engine.session import open_session
from pageopt.models.common.training import reproducible
from pageopt.release.export import page_onnx, random_inputs
from pageopt.search.graph import INPUT_NAMES, PageGraph
from pageopt.studies.bench import inputs
from pageopt.studies.bench.inputs import Size

MOST_SHARE_OF_EAGER = 0.5
SCORINGS = 10
CALLS_A_TURN = 20  # one after the other, as a server would: each finds its own data in the caches


def page_decision(
    size: Size | None = None, *, candidates: int = 200, beams: int = 3, calls: int = 200, threads: int = 1
) -> dict:
    """Median milliseconds of a decision, all three measured in turns on one thread.

    XGBoost stands for the model that scores each candidate alone: 100 trees of depth 6 on 40 features, and a page of K
    slots that looks at what is above each slot needs K scorings.
    """
    size = size or Size()
    model = inputs.model(size)
    graph = PageGraph(model, SearchParams(width=beams, beam_start=1, objective="purchase")).eval()
    page = random_inputs(model.config, 1, candidates)
    page = (*page[:-2], torch.ones_like(page[-2]), torch.full_like(page[-1], size.slots))
    feed = {name: value.numpy() for name, value in zip(INPUT_NAMES, page, strict=True)}
    session = open_session(page_onnx(graph, model.config).SerializeToString())
    booster, rows = _booster(candidates)

    def eager() -> None:
        with torch.inference_mode():
            graph(*page)

    def scorings() -> None:
        for _ in range(SCORINGS):
            booster.inplace_predict(rows)

    work: dict[str, Callable[[], object]] = {
        "onnx": lambda: session.run(None, feed),
        "eager": eager,
        "xgboost": scorings,
    }
    with reproducible(threads):
        times = _milliseconds(work, calls)
    median = {name: statistics.median(each) for name, each in times.items()}
    return {
        "onnx_p50_ms": median["onnx"],
        "onnx_p99_ms": float(np.quantile(times["onnx"], 0.99)),
        "eager_p50_ms": median["eager"],
        "ten_xgboost_scorings_p50_ms": median["xgboost"],
        "share_of_eager": median["onnx"] / median["eager"],
        "share_of_eager_limit": MOST_SHARE_OF_EAGER,
        "share_of_xgboost": median["onnx"] / median["xgboost"],
        "share_of_xgboost_limit": 1.0,
        "candidates": candidates,
        "slots": size.slots,
        "beams": beams,
        "families": size.families,
        "width": size.width,
        "threads": threads,
    }


def _milliseconds(work: Mapping[str, Callable[[], object]], calls: int) -> dict[str, list[float]]:
    """Of each call, by name: in turns, of which the first fills the caches and does not count."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(calls // CALLS_A_TURN + 1):
        for name, call in work.items():
            for _ in range(CALLS_A_TURN):
                start = time.perf_counter()
                call()
                if turn:
                    times[name].append((time.perf_counter() - start) * 1e3)
    return times


def _booster(rows: int) -> tuple[xgboost.Booster, np.ndarray]:
    random = np.random.default_rng(0)
    features = random.normal(size=(20_000, 40)).astype(np.float32)
    label = random.random(20_000) < 1 / (1 + np.exp(-features[:, :5].sum(1)))
    params = {"objective": "binary:logistic", "max_depth": 6, "nthread": 1, "tree_method": "hist"}
    booster = xgboost.train(params, xgboost.DMatrix(features, label, nthread=1), num_boost_round=100)
    return booster, features[:rows]
