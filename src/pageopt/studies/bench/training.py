"""Training speed, beside what the matrix products of the same steps would allow on the same machine."""

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from pageopt.config import TrainParams
from pageopt.models.common.step import TrainingStep
from pageopt.models.common.training import reproducible
from pageopt.models.item.above import Product
from pageopt.models.item.data import PageTensors
from pageopt.studies.bench import inputs
from pageopt.studies.bench.inputs import Size

LEAST_PAGES_PER_SECOND = 15_000
_OTHER_EACH = 4


def training(
    params: TrainParams,
    size: Size | None = None,
    *,
    batch: int = 1024,
    threads: int = 2,
    repeats: int = 7,
    bf16: bool = False,
) -> dict:
    """Pages per second of whole training steps under `params`: batch from memory, forward, backward, Adam, average.

    A network that may see the modules above learns without them in every fourth step, as train.above = auto has it.
    Beside it, measured in turns with it, the pages per second if a step were its matrix products alone (the same sizes,
    forward and backward): the share of that is how well the rest hides. Figures are medians of `repeats` turns.
    """
    size = size or Size()
    params = params.model_copy(update={"above": "auto", "bf16": bf16})
    model = inputs.model(size).train()
    pages = page_tensors(size, 8 * batch)
    batches = torch.arange(len(pages)).split(batch)
    one, other, _ = model.ways(params)
    ways = [other if other and index % _OTHER_EACH == 0 else one for index in range(len(batches))]

    kind = torch.bfloat16 if bf16 else torch.float32
    products = {way: _products(model.products(batch, hidden=way == "hidden"), kind) for way in set(ways)}

    def roofline() -> None:
        for way in ways:
            products[way]()

    with reproducible(threads):
        step = TrainingStep(model, pages, params)

        def steps() -> None:
            for rows, way in zip(batches, ways, strict=True):
                step(pages.take(rows), way)

        rates = [[len(pages) / _seconds(work) for work in (steps, roofline)] for _ in range(repeats + 1)][1:]
    trained, allowed = (statistics.median(column) for column in zip(*rates, strict=True))
    return {
        "pages_per_second": trained,
        "matrix_products_pages_per_second": allowed,
        "share_of_matrix_products": trained / allowed,
        "limit": LEAST_PAGES_PER_SECOND,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "slots": size.slots,
        "width": size.width,
        "batch": batch,
        "threads": threads,
        "bf16": bf16,
    }


def page_tensors(size: Size, count: int, seed: int = 0) -> PageTensors:
    """Random pages with random labels, as training keeps them."""
    random = np.random.default_rng((seed, 3))
    encoded = inputs.pages(size, count, seed)
    shape = (count, size.slots)
    return PageTensors(
        categorical=torch.from_numpy(encoded.categorical.astype(np.int32)),
        numeric=torch.from_numpy(encoded.numeric),
        tokens=torch.from_numpy(encoded.tokens.astype(np.int32)),
        module=torch.from_numpy(inputs.shown(size, count, seed).astype(np.int32)),
        labels={name: torch.from_numpy((random.random(shape) < 0.05).astype(np.float32)) for name in size.losses},
        weights=dict.fromkeys(size.losses, torch.ones(shape)),
    )


def _products(shapes: Sequence[Product], kind: torch.dtype) -> Callable[[], None]:
    """Matrix products [n, k] · [k, m] of given sizes, with their two backward products each."""
    factors = [(torch.randn(n, k, dtype=kind), torch.randn(k, m, dtype=kind)) for n, k, m in shapes]

    def multiply() -> None:
        for x, w in factors:
            y = x @ w
            x.T @ y
            y @ w.T

    return multiply


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
