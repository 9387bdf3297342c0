"""The static page: modules by overall popularity, the same for everybody, under the family rule.

It is what most shops show, the baseline of the paper (section 8) and the production policy of the simulator.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pageopt.policies.greedy import greedy_pages


def static_order(popularity: NDArray[np.floating]) -> NDArray[np.int64]:
    """Module indices `[M]` by `popularity [M]`, highest first, ties to the earlier: the page before the family rule."""
    return np.argsort(-popularity, kind="stable")


def static_pages(
    order: Sequence[int] | np.ndarray, candidates: np.ndarray, families: np.ndarray, slots: int
) -> NDArray[np.int64]:
    """The most popular candidates of each page from top to bottom, no two neighbours of one family.

    Where only one family is left the rule is lifted rather than leaving a slot empty; with fewer candidates than slots
    the page is shorter.

    Args:
        order: module indices, most popular first; holds every candidate.
        candidates: `[pages, candidates]` indices of the modules available, in any order, -1 where there is none.
        families: `[modules]` family of every module.
        slots: slots of the page.

    Returns:
        `[pages, slots]` module indices, -1 where the page is shorter.
    """
    order = np.asarray(order, dtype=np.int64)
    candidates = np.asarray(candidates, dtype=np.int64)
    families = np.asarray(families)
    rank = np.zeros(len(families), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return greedy_pages(-rank[candidates][:, None], candidates, families, slots)
