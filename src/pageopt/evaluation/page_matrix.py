"""Rows of a design that say the same things again and again, kept as a product: cells of a row · columns of a cell.

That a module stands in slot 4 below a certain other one in slot 2 is one cell, which sets four columns or more. A row
has few cells, and all rows together not many different ones, so a product with both factors reads a third of the
numbers that one with their product reads. Clicks above, which change from fit to fit, stand beside them.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from scipy.sparse.linalg import LinearOperator

from pageopt.evaluation.estimate import Floats


class PageMatrix(LinearOperator):
    """`[n, columns]`, cells · columns of a cell, and last the clicks above by slot [K] and over all [1].

    Attributes:
        cells: `[n, cells]`, and `said [cells, columns - K - 1]` the columns of a cell.
        slot, above: `[n]`, how many clicks are expected above the slot.
        slots: K.
    """

    def __init__(self, cells: csr_matrix, said: csr_matrix, slot: NDArray[np.int64], above: Floats, slots: int) -> None:
        super().__init__(np.dtype(np.float64), (cells.shape[0], said.shape[1] + slots + 1))
        self.cells = cells
        self.said = said
        self.slot = slot
        self.above = above
        self.slots = slots

    def with_clicks(self, above: Floats) -> Self:
        """The same rows with `above [n]` clicks expected above."""
        return type(self)(self.cells, self.said, self.slot, above, self.slots)

    def __getitem__(self, rows: NDArray | slice) -> Self:
        return type(self)(self.cells[rows], self.said, self.slot[rows], self.above[rows], self.slots)

    def tocsr(self) -> csr_matrix:
        """All of it, one number for each row and column that is not 0."""
        by_slot = csr_matrix((self.above, (np.arange(len(self.slot)), self.slot)), (len(self.slot), self.slots))
        return hstack([self.cells @ self.said, by_slot, csr_matrix(self.above[:, None])], format="csr")

    def _matvec(self, x: Floats) -> Floats:
        x = x.ravel()
        by_slot = x[-self.slots - 1 : -1] + x[-1]
        result: Floats = self.cells @ (self.said @ x[: self.said.shape[1]]) + self.above * by_slot[self.slot]
        return result

    def _rmatvec(self, y: Floats) -> Floats:
        y = y.ravel()
        by_slot = np.bincount(self.slot, self.above * y, self.slots)
        return np.concatenate([self.said.T @ (self.cells.T @ y), by_slot, [by_slot.sum()]])
