"""Means over seeds with intervals, and the verdict on a claim.

A seed is a shop, a log and a training of its own, so that numbers of different seeds are independent and numbers of
one seed are paired. An interval over seeds is Student's: it holds the chance of the shop, of the log, of the training
and of the pages judged, all of which differ between seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student

from pageopt.errors import EvaluationError

Word = Literal["agrees", "disagrees", "undecided"]
RULE = (
    "A claim of the paper agrees if the interval over seeds of our lift lies on the same side of zero as the paper's "
    "figure, disagrees if it lies on the other side, and is undecided if it contains zero. For CTR and PTR our lift is "
    "the true one; ranking metrics have no truth, so it is the metric's own. A paper figure of 0 claims nothing."
)


@dataclass(frozen=True)
class OverSeeds:
    """A number by seed: its mean, the ends of the mean's interval, and the standard deviation between seeds."""

    value: float
    low: float
    high: float
    spread: float
    by_seed: tuple[float, ...]


def over_seeds(numbers: Sequence[float], confidence: float) -> OverSeeds:
    """The mean of `numbers`, one a seed, with its interval. Raises EvaluationError for fewer than two, or a nan."""
    values = np.array(numbers, dtype=np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        raise EvaluationError(f"An interval over seeds needs two finite numbers at least, not {list(numbers)}.")
    spread = float(values.std(ddof=1))
    width = float(student.ppf((1 + confidence) / 2, len(values) - 1) * spread / np.sqrt(len(values)))
    mean = float(values.mean())
    return OverSeeds(mean, mean - width, mean + width, spread, tuple(map(float, values)))


def ratio(first: Sequence[float], second: Sequence[float], confidence: float) -> OverSeeds | None:
    """Mean of `first` over mean of `second`, paired by seed; None unless the latter is positive.

    The ratio R of the means, not the mean of ratios, which a seed with a small denominator would rule. Its interval is
    that of the linearised a_i − R·b_i (delta method); `by_seed` holds R + (a_i − R·b_i) / mean(b).
    """
    if len(first) != len(second):
        raise EvaluationError(f"Lifts are paired by seed: there are {len(first)} and {len(second)} numbers.")
    a, b = np.array(first, dtype=np.float64), np.array(second, dtype=np.float64)
    if not b.mean() > 0:
        return None
    of = a.mean() / b.mean()
    return over_seeds((of + (a - of * b) / b.mean()).tolist(), confidence)


def lift(first: Sequence[float], second: Sequence[float], confidence: float) -> OverSeeds | None:
    """Relative change of the mean over seeds, `first` over `second`; see `ratio`."""
    return ratio(np.subtract(first, second).tolist() if len(first) == len(second) else first, second, confidence)


def word(ours: OverSeeds | None, paper: float | None) -> Word | None:
    """The verdict on the paper's lift (see RULE); None where the paper claims nothing."""
    if paper is None or paper == 0:
        return None
    if ours is None or ours.low <= 0 <= ours.high:
        return "undecided"
    return "agrees" if (ours.value > 0) == (paper > 0) else "disagrees"
