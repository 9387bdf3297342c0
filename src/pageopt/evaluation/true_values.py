"""What pages earn in truth, which only a simulator knows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from pageopt.evaluation.figures import Change, Figure
from pageopt.simulator import truth


def true_values(
    raw: Path, page_ids: NDArray, module_ids: Sequence[str], pages: Mapping[str, NDArray]
) -> dict[str, dict[str, Figure]]:
    """Values "true_ctr" and "true_ptr" by policy that shows modules `pages`, `[pages, slots]`, on visits `page_ids`."""
    names = np.array([*module_ids, None], dtype=object)  # -1 is the last: an empty slot
    means = {}
    for name, modules in pages.items():
        chances = zip(("true_ctr", "true_ptr"), truth.expected(raw, page_ids, names[modules]), strict=True)
        means[name] = {metric: Figure.exactly(float(chance.sum(axis=1).mean())) for metric, chance in chances}
    return means


def with_truth(change: Change, first: Mapping[str, Figure], second: Mapping[str, Figure]) -> Change:
    """The change with what `first` earns more than `second` in truth."""
    known = {}
    for metric in first:
        a, b = first[metric].value or 0.0, second[metric].value or 0.0
        known[metric] = Figure.exactly(a - b)
        known[f"{metric}_relative"] = Figure.exactly(a / b - 1) if b else Figure.of(None)
    return msgspec.structs.replace(change, **known)
