"""Decided pages, in the one shape in which every decider hands them over, with PyTorch or without."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pageopt.policies.greedy import EMPTY

_SIGNALS = 3  # click, intent, purchase


@dataclass(frozen=True)
class Decision:
    """P decided pages of K slots.

    Attributes:
        modules: int64 `[P, K]`, module indexes, -1 where the slot is empty.
        probabilities: float32 `[P, K, 3]`, of click, intent and purchase; 0 where the slot is empty.
        score: float32 `[P]`, of the whole page.
    """

    modules: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    score: NDArray[np.float32]

    @classmethod
    def empty(cls, pages: int, slots: int) -> "Decision":
        """Pages that show nothing yet; `put` fills them."""
        return cls(
            np.full((pages, slots), EMPTY, dtype=np.int64),
            np.zeros((pages, slots, _SIGNALS), dtype=np.float32),
            np.zeros(pages, dtype=np.float32),
        )

    def put(
        self,
        rows: slice,
        offered: NDArray[np.int64],
        chosen: NDArray[np.int64],
        probabilities: NDArray[np.float32],
        score: NDArray[np.float32],
    ) -> None:
        """Fill some pages with what the graph gave: `chosen` `[B, K]` are positions in `offered` `[B, N]`, or -1."""
        modules = np.take_along_axis(offered, np.maximum(chosen, 0), axis=1)
        self.modules[rows] = np.where(chosen >= 0, modules, EMPTY)
        self.probabilities[rows] = probabilities
        self.score[rows] = score
