"""Estimates with intervals: a bootstrap that resamples users, because pages of one user are not independent."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pageopt.config import EvaluateParams
from pageopt.errors import EvaluationError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value and the bounds of its interval."""

    value: float
    low: float
    high: float


def check_numbers(name: str, value: ArrayLike, *, shape: tuple[int, ...] | None = None) -> Floats:
    """`value` as float64 array `[pages]` or `[pages, slots]`.

    Raises EvaluationError that names the argument, and the index of the first entry that is not finite.
    """
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"{name} must hold numbers: {error}.") from None
    if array.ndim not in (1, 2) or array.shape[0] == 0:
        raise EvaluationError(
            f"{name} must have shape [pages] or [pages, slots] with at least one page: {array.shape}."
        )
    if shape is not None and array.shape != shape:
        raise EvaluationError(f"{name} has shape {array.shape}, but {shape} is needed, as in the first argument.")
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise EvaluationError(f"{name}{list(where)} is {array[where]}; every entry must be finite.")
    return array


def unit_codes(pages: int, user_id: ArrayLike | None = None) -> NDArray[np.int64]:
    """The resampling unit of each page, `[pages]`, coded 0..units-1: its user, or the page where null."""
    if user_id is None:
        return np.arange(pages)
    users = np.asarray(user_id)
    if users.shape != (pages,):
        raise EvaluationError(f"user_id has shape {users.shape}, but there are {pages} pages: ({pages},) is needed.")
    codes, known = pd.factorize(users)
    codes = codes.astype(np.int64)
    alone = codes < 0
    codes[alone] = len(known) + np.arange(alone.sum())
    return codes


class UserBootstrap:
    """Resamples users with replacement: the same `replicates` resamples for every statistic, so differences are paired.

    `user_id [pages]` may hold nulls, whose pages stand alone; without it every page does. Statistics are ratios of sums
    over pages, so a replicate needs the sums by user only, and all replicates are one matrix product.
    """

    def __init__(
        self,
        pages: int,
        user_id: ArrayLike | None = None,
        *,
        seed: int = 0,
        replicates: int = 1000,
        confidence: float = 0.95,
    ) -> None:
        if pages < 1 or replicates < 1 or not 0 < confidence < 1:
            raise EvaluationError(
                f"A bootstrap needs pages ≥ 1, replicates ≥ 1 and confidence in (0, 1), not {pages}, {replicates}, "
                f"{confidence}."
            )
        self.pages = pages
        self.units = unit_codes(pages, user_id)
        self.unit_count = int(self.units.max()) + 1
        self.replicates = replicates
        self.confidence = confidence
        self._seed = seed

    @classmethod
    def of(cls, user_id: ArrayLike, params: EvaluateParams) -> "UserBootstrap":
        """Resamples of the pages of `user_id [pages]`, as stage evaluate makes them."""
        return cls(
            len(np.asarray(user_id)),
            user_id,
            seed=params.seed,
            replicates=params.bootstrap,
            confidence=params.confidence,
        )

    @cached_property
    def counts(self) -> NDArray[np.uint8]:
        """How often a replicate drew each unit, `[replicates, units]`.

        One byte is enough: up to 255 units no count can be larger, and beyond it none will be (mean 1, Poisson tail).
        """
        rng = np.random.default_rng(self._seed)
        counts = np.empty((self.replicates, self.unit_count), dtype=np.uint8)
        for row in counts:
            drawn = rng.integers(0, self.unit_count, size=self.unit_count)
            row[:] = np.bincount(drawn, minlength=self.unit_count)
        return counts

    def unit_sums(self, columns: Floats) -> Floats:
        """Sums of `columns [pages, statistics]` over the pages of each unit, `[units, statistics]`."""
        return np.stack(
            [np.bincount(self.units, weights=column, minlength=self.unit_count) for column in columns.T], axis=1
        )

    def z(self, column: Floats) -> float:
        """Sum of `column [pages]` in standard errors over units, if its mean were 0."""
        by_unit = self.unit_sums(column[:, None])[:, 0]
        spread = float(np.sqrt((by_unit**2).sum()))
        return float(by_unit.sum() / spread) if spread > 0 else 0.0

    def sums(self, columns: Floats) -> Floats:
        """Sums of `columns [pages, statistics]` in every replicate, `[replicates, statistics]`."""
        by_unit = self.unit_sums(columns)
        return np.concatenate([counts @ by_unit for counts in self._count_blocks()])

    def _count_blocks(self) -> Iterator[Floats]:
        block = max(1, 4_000_000 // self.unit_count)
        for start in range(0, self.replicates, block):
            yield self.counts[start : start + block].astype(np.float64)

    def interval(self, value: float, replicated: Floats) -> Estimate:
        """`value` with the percentile interval of `replicated [replicates]`; those that are not finite are left out."""
        usable = replicated[np.isfinite(replicated)]
        if not np.isfinite(value) or usable.size == 0:
            raise EvaluationError("The estimate is undefined: its denominator is zero on every resample of the pages.")
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(usable, [tail, 1 - tail])
        # A percentile interval can miss the point estimate by rounding, or where few pages carry all of the weight.
        return Estimate(float(value), float(min(low, value)), float(max(high, value)))

    def mean(self, contribution: Floats) -> Estimate:
        """Mean over pages of `contribution [pages]`."""
        return self.ratio(contribution[:, None], np.ones((self.pages, 1)))

    def ratio(self, numerator: Floats, denominator: Floats) -> Estimate:
        """Σ_j (sum over pages of `numerator [pages, j]`) / (sum over pages of `denominator [pages, j]`)."""
        replicated = self.sums(np.concatenate([numerator, denominator], axis=1))
        width = numerator.shape[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            value = (numerator.sum(axis=0) / denominator.sum(axis=0)).sum()
            ratios = (replicated[:, :width] / replicated[:, width:]).sum(axis=1)
        return self.interval(value, ratios)

    def relative_change(self, first: Floats, second: Floats) -> Estimate | None:
        """mean(`first`)/mean(`second`) − 1 for contributions `[pages]` of the same pages.

        None where the second mean is not clearly positive, in the sample and in the share of resamples that the
        interval covers: a ratio to it would mean nothing.
        """
        sums = self.sums(np.stack([first, second], axis=1))
        positive = sums[:, 1] > 0
        if second.mean() <= 0 or positive.mean() < self.confidence:
            return None
        return self.interval(first.mean() / second.mean() - 1, sums[positive, 0] / sums[positive, 1] - 1)
