"""Pages from scores that do not depend on the modules above: slot by slot the best candidate under the family rule."""

import numpy as np
from numpy.typing import NDArray

EMPTY = -1
"""Stands for no module, where a page ends early and where there are fewer candidates."""


def greedy_pages(
    score: NDArray[np.number], candidates: NDArray[np.int64], family: NDArray[np.int64], slots: int
) -> NDArray[np.int64]:
    """Pages `[P, slots]` of module indexes, -1 where a page ends.

    No two neighbours of one family, unless only that family is left; each module once; ties go to the earlier
    candidate: the search of `pageopt.search.beam` with width 1, for many pages at once.

    Args:
        score: `[P, slots, N]` of each candidate in each slot, or `[P, 1, N]` where the slot does not matter.
        candidates: `[P, N]` module indexes, -1 where there is none.
        family: `[M]` of every module.
        slots: slots of the page.
    """
    P, N = candidates.shape
    pages = np.full((P, slots), EMPTY, dtype=np.int64)
    free = candidates >= 0
    families = family[candidates]
    above = np.full(P, -1, dtype=np.int64)
    page = np.arange(P)
    for slot in range(min(slots, N)):
        apart = free & (families != above[:, None])
        allowed = np.where(apart.any(axis=1, keepdims=True), apart, free)
        best = np.where(allowed, score[:, min(slot, score.shape[1] - 1)], -np.inf).argmax(axis=1)
        filled = free[page, best]
        pages[:, slot] = np.where(filled, candidates[page, best], EMPTY)
        above = families[page, best]
        free[page, best] = False
    return pages
