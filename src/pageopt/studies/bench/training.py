"""Training speed, beside what the matrix products of the same steps would allow on the same machine."""

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from pageopt.models.common.averaging import Average
from pageopt.models.common.losses import LossWeights, masked_cross_entropy
from pageopt.models.common.training import reproducible
from pageopt.models.item.above import Product
from pageopt.models.item.data import PageTensors
from pageopt.models.item.heads import HEAD_OF_LOSS
from pageopt.studies.bench import inputs
from pageopt.studies.bench.inputs import Size

LEAST_PAGES_PER_SECOND = 15_000
_AVERAGING = 0.99
_HIDDEN_EACH = 4


def training(
    size: Size | None = None, *, batch: int = 1024, threads: int = 2, repeats: int = 7, bf16: bool = False
) -> dict:
    """Pages per second of whole training steps: batch taken from memory, forward, backward, Adam, running average.

    A network that may see the modules above learns without them in every fourth step, as train.above = auto has it.
    Beside it, measured in turns with it, the pages per second if a step were its matrix products alone (the same sizes,
    forward and backward): the share of that is how well the rest hides. Figures are medians of `repeats` turns.
    """
    size = size or Size()
    model = inputs.model(size).train()
    pages = page_tensors(size, 8 * batch)
    between = LossWeights(dict.fromkeys(size.losses, 0.2), learned=True)
    optimizer = torch.optim.Adam([*model.parameters(), *between.parameters()], fused=True)
    averaged = Average(model, _AVERAGING)
    batches = torch.arange(len(pages)).split(batch)
    without = [model.config.above == "hidden" or step % _HIDDEN_EACH == 0 for step in range(len(batches))]

    def steps() -> None:
        for rows, hidden in zip(batches, without, strict=True):
            part = pages.take(rows)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                logits = model(*part.inputs(), hidden=hidden).float()
            losses = torch.stack(
                [
                    masked_cross_entropy(logits[..., HEAD_OF_LOSS[name]], label, part.weights[name])
                    for name, label in part.labels.items()
                ]
            )
            optimizer.zero_grad()
            between(losses / rows.numel()).backward()
            optimizer.step()
            averaged.update_parameters(model)

    kind = torch.bfloat16 if bf16 else torch.float32
    products = {hidden: _products(model.products(batch, hidden=hidden), kind) for hidden in set(without)}

    def roofline() -> None:
        for hidden in without:
            products[hidden]()

    with reproducible(threads):
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
        torch.from_numpy(encoded.categorical.astype(np.int32)),
        torch.from_numpy(encoded.numeric),
        torch.from_numpy(encoded.tokens.astype(np.int32)),
        torch.from_numpy(inputs.shown(size, count, seed).astype(np.int32)),
        {name: torch.from_numpy((random.random(shape) < 0.05).astype(np.float32)) for name in size.losses},
        dict.fromkeys(size.losses, torch.ones(shape)),
    )


def _products(shapes: Sequence[Product], kind: torch.dtype) -> Callable[[], None]:
    """Matrix products [n, k] · [k, m] of given sizes, with their two backward products each."""
    factors = [(torch.randn(n, k, dtype=kind), torch.randn(k, m, dtype=kind)) for n, k, m in shapes]

    def run() -> None:
        for x, w in factors:
            y = x @ w
            x.T @ y
            y @ w.T

    return run


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
