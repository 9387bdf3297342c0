"""Coordinates in which a fit of many columns, and an answer from its curvature, takes few steps.

Columns that speak of the same thing, such as a pair of modules at all its places, lean on each other, and all but not
at all on columns of another group. With C the curvature Σ w·row·rowᵀ + diag(penalty) within each group, and R·Rᵀ = C⁻¹,
x = R·y has a curvature in y close to the identity: a search in y takes a fraction of the steps of one in x.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pageopt.evaluation.estimate import Floats
from pageopt.evaluation.page_matrix import PageMatrix

_ROWS = 60_000  # looked at; C needs to be about right only
_ROWS_AT_ONCE = 30_000


@dataclass(frozen=True)
class BlockCurvature:
    """Σ w·row·rowᵀ within groups of columns, by the size of the groups.

    Attributes:
        columns: for each size s of a group, `[groups, s]` which columns they hold.
        blocks: for each size, `[groups, s, s]`.
    """

    columns: tuple[NDArray[np.int64], ...]
    blocks: tuple[Floats, ...]

    @classmethod
    def of(cls, rows: csr_matrix | PageMatrix, weight: float, group: NDArray[np.int64]) -> "BlockCurvature":
        """Of all `rows [n, columns]`, each with `weight`; `group [columns]` counts from 0."""
        size = np.bincount(group)
        order, begin = np.argsort(group, kind="stable"), np.cumsum(size) - size
        place = np.empty(len(group), dtype=np.int64)  # of a column within its group
        place[order] = np.arange(len(group)) - begin[group[order]]
        first = np.cumsum(size**2) - size**2  # where the block of a group begins
        total = np.zeros(int((size**2).sum()))
        some = rows[:: max(1, rows.shape[0] // _ROWS)]
        for start in range(0, some.shape[0], _ROWS_AT_ONCE):
            left, right, value = _pairs_of_a_group(some[start : start + _ROWS_AT_ONCE].tocsr(), group)
            of = group[left]
            cell = first[of] + place[left] * size[of] + place[right]
            total += np.bincount(cell, value, minlength=len(total))
        total *= weight * rows.shape[0] / max(some.shape[0], 1)
        columns, blocks = [], []
        for s in np.unique(size[size > 0]):
            members = np.flatnonzero(size == s)
            columns.append(order[begin[members][:, None] + np.arange(s)])
            blocks.append(total[first[members][:, None] + np.arange(s * s)].reshape(-1, s, s))
        return cls(tuple(columns), tuple(blocks))

    def root(self, penalty: Floats, times: float = 1.0) -> "Root":
        """R of a fit on `times` as many rows, under `penalty [columns]`."""
        roots = []
        for columns, block in zip(self.columns, self.blocks, strict=True):
            curvature = times * block
            diagonal = np.arange(columns.shape[1])
            curvature[:, diagonal, diagonal] += penalty[columns]
            roots.append(np.linalg.cholesky(np.linalg.inv(curvature)))
        return Root(self.columns, tuple(roots))


@dataclass(frozen=True)
class Root:
    """R, block by block as in `BlockCurvature`."""

    columns: tuple[NDArray[np.int64], ...]
    blocks: tuple[Floats, ...]

    def times(self, y: Floats) -> Floats:
        """R·y, `[columns]`."""
        x = np.empty_like(y)
        for columns, block in zip(self.columns, self.blocks, strict=True):
            x[columns] = np.matvec(block, y[columns])
        return x

    def transposed(self, x: Floats) -> Floats:
        """Rᵀ·x, `[columns]`."""
        y = np.empty_like(x)
        for columns, block in zip(self.columns, self.blocks, strict=True):
            y[columns] = np.vecmat(x[columns], block)
        return y

    def solve(self, x: Floats) -> Floats:
        """The y `[columns]` with R·y = x."""
        y = np.empty_like(x)
        for columns, block in zip(self.columns, self.blocks, strict=True):
            y[columns] = np.linalg.solve(block, x[columns][..., None])[..., 0]
        return y


def _pairs_of_a_group(rows: csr_matrix, group: NDArray[np.int64]) -> tuple[NDArray, NDArray, Floats]:
    """Every two entries of a row whose columns are of one group: both columns, and the product of their values."""
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    order = np.lexsort((group[rows.indices], row))
    row, column, value = row[order], rows.indices[order], rows.data[order]
    fresh = np.ones(len(row), dtype=bool)
    fresh[1:] = (row[1:] != row[:-1]) | (group[column[1:]] != group[column[:-1]])
    begin = np.flatnonzero(fresh)
    length = np.diff(np.append(begin, len(row)))
    partners = np.repeat(length, length)  # of each entry
    left = np.repeat(np.arange(len(row)), partners)
    within = np.arange(len(left)) - np.repeat(np.cumsum(partners) - partners, partners)
    right = np.repeat(np.repeat(begin, length), partners) + within
    return column[left], column[right], value[left] * value[right]
