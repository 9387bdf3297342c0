"""The static page: modules by overall popularity, the same for everybody, under the family rule.

It is what most shops show, the baseline of the paper (section 8) and the production policy of the simulator.
"""

from collections.abc import Sequence

import numpy as np

from pageopt.policies.greedy import EMPTY, greedy_pages


def static_page(order: Sequence[int], candidates: Sequence[int], families: np.ndarray, slots: int) -> list[int]:
    """The most popular candidates from top to bottom, no two neighbours of one family.

    Where only one family is left the rule is lifted rather than leaving a slot empty; with fewer candidates than slots
    the page is shorter.

    Args:
        order: module indices, most popular first; holds every candidate.
        candidates: indices of the modules available on the page, in any order; -1 is ignored.
        families: `[modules]` family of every module.
        slots: slots of the page.

    Returns:
        The chosen module indices, at most `slots` of them.
    """
    available = {int(module) for module in candidates if module != EMPTY}
    left = [int(module) for module in order if int(module) in available]
    page: list[int] = []
    while left and len(page) < slots:
        allowed = [module for module in left if not page or families[module] != families[page[-1]]]
        page.append((allowed or left)[0])
        left.remove(page[-1])
    return page


def static_pages(
    order: Sequence[int] | np.ndarray, candidates: np.ndarray, families: np.ndarray, slots: int
) -> np.ndarray:
    """`static_page` for many pages at once.

    Args:
        order: module indices, most popular first; holds every candidate.
        candidates: `[pages, candidates]` module indices, -1 where there is none.
        families: `[modules]` family of every module.
        slots: slots of the page.

    Returns:
        `[pages, slots]` int64 module indices, -1 where the page is shorter.
    """
    order = np.asarray(order, dtype=np.int64)
    candidates = np.asarray(candidates, dtype=np.int64)
    families = np.asarray(families)
    rank = np.zeros(len(families), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return greedy_pages(-rank[candidates][:, None], candidates, families, slots)
