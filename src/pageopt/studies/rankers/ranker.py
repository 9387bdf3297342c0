"""The one interface of all that makes pages, so that experiments compare them alike."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pageopt.features.encoder import EncodedPages
from pageopt.features.pages import Pages


class Ranker(Protocol):
    """Learns from logged pages, says how likely shown modules are to earn something, and makes pages.

    Shapes: P pages, K slots, N candidates, Q the heads click, intent, purchase (pageopt.models.item.heads.HEADS).
    """

    def fit(self, train: Pages, valid: Pages) -> None:
        """Learn from `train`; `valid` may only tell when to stop. The same pages give the same bits."""
        ...

    def score(self, pages: Pages) -> NDArray[np.float64]:
        """Probabilities `[P, K, Q]` of the modules that `pages` show; 0 where a slot is empty or a head unknown."""
        ...

    def page(self, encoded: EncodedPages, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pages `[P, K]` of module indexes out of candidates `[P, N]` (-1: none), -1 where a page ends.

        No two neighbours of one family, unless only that family is left; ties go to the earlier candidate.
        """
        ...
