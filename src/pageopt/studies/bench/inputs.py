"""Made-up models and pages of a given size, for benchmarks and tests: the values mean nothing, the shapes are real."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pageopt.features.encoder import EncodedPages
from pageopt.models.common.training import seeded
from pageopt.models.item.network import ModuleTable, PageNetwork
from pageopt.models.item.network_config import AboveMode, Architecture, NetworkConfig
from pageopt.problems.fields import of_kind
from pageopt.problems.item import ITEM


@dataclass(frozen=True)
class Size:
    """What a model and its pages look like; the defaults are the paper's scale with tens of user counters."""

    modules: int = 200
    families: int = 20
    slots: int = 10
    width: int = 64
    embedding: int = 32
    cardinalities: tuple[int, ...] = (5, 30, 30, 22)
    numerics: int = 60
    texts: int = len(of_kind(ITEM.fields, "text"))
    title_tokens: int = 12
    vocabulary: int = 5000
    about: int = 6
    architecture: Architecture = "trnn"
    above: AboveMode = "chosen"
    losses: tuple[str, ...] = ("click", "intent", "attributed")


def model(size: Size, seed: int = 0, spread: float = 1.0) -> PageNetwork:
    """A model of random weights; `spread` multiplies those of the last layers, so that candidates differ."""
    random = np.random.default_rng(seed)
    config = NetworkConfig(
        **vars(size),
        module_cardinalities=(size.families + 2, 8, 8),
        module_numerics=2,
        module_texts=0,
        dropout=0.3,
        counters=size.numerics,
    )
    family = random.permutation(np.arange(size.modules) % size.families).astype(np.int64)
    table = ModuleTable(
        family,
        np.column_stack([family + 2, random.integers(0, 8, (size.modules, 2))]),
        random.normal(size=(size.modules, 2)).astype(np.float32),
        np.zeros((size.modules, 0, size.title_tokens), dtype=np.int64),
        random.integers(-1, size.numerics, (size.modules, size.about)),
    )
    result = seeded(lambda: PageNetwork(config, table), seed)
    result.start_from(dict.fromkeys(size.losses, 0.05))
    for layer in (result.from_output, result.from_module, result.heads):
        layer.weight.data *= spread
    return result.eval()


def pages(size: Size, count: int, seed: int = 0) -> EncodedPages:
    """Random encoded pages."""
    random = np.random.default_rng((seed, 1))
    return EncodedPages(
        np.column_stack([random.integers(0, cardinality, count) for cardinality in size.cardinalities]),
        random.normal(size=(count, size.numerics)).astype(np.float32),
        random.integers(0, size.vocabulary, (count, size.texts, size.title_tokens)),
    )


def shown(size: Size, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Random pages of different modules `[count, slots]`."""
    random = np.random.default_rng((seed, 2))
    return random.random((count, size.modules)).argsort(1)[:, : size.slots]
