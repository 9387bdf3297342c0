"""How often one may look at a test that is still running: alpha spending (Lan and DeMets 1983).

`boundaries` says what a look's statistic has to exceed for the whole test to keep its error, by the recursion over
looks of Armitage, McPherson and Rowe (1969).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Floats, check_numbers

Spending = Literal["obrien-fleming", "pocock"]

_HIGHEST = 8.0  # boundary where (nearly) nothing may be spent; a normal variable is beyond it once in 1e15
_LEAST_STEP = 0.002  # of information between two looks that the quadrature resolves


def boundaries(
    looks: int | Sequence[float], alpha: float = 0.05, spending: Spending = "obrien-fleming"
) -> NDArray[np.float64]:
    """What |statistic| has to exceed at each look, `[looks]`, so that a test without effect stops with chance `alpha`.

    Two-sided and symmetric; each side spends α/2 by Lan and DeMets' functions of the share of information t:
    "obrien-fleming" 2 − 2Φ(z_{α/4}/√t), little at first, and "pocock" (α/2)·ln(1 + (e − 1)t), about evenly.

    Args:
        looks: how many, evenly spaced; or the share of information at each, rising, at most 1.
        alpha: of the whole test, two-sided.
        spending: which function.

    Raises:
        EvaluationError: looks that are not rising in (0, 1] by at least 0.002, or unknown spending.
    """
    information = _information(looks)
    if not 0 < alpha < 1:
        raise EvaluationError(f"alpha must lie in (0, 1), not {alpha}.")
    match spending:
        case "obrien-fleming":
            spent = 4 * ndtr(ndtri(alpha / 4) / np.sqrt(information))
        case "pocock":
            spent = alpha * np.log1p((np.e - 1) * information)
        case _:
            raise EvaluationError(f"spending must be 'obrien-fleming' or 'pocock', not {spending!r}.")
    walk = _Walk(information)
    limits = np.full(len(information), _HIGHEST)
    for look, (time, now) in enumerate(zip(information, np.diff(spent, prepend=0.0), strict=True)):
        walk.reach(time)
        if walk.exit(_HIGHEST) < now:
            limits[look] = brentq(lambda z, now=now: walk.exit(z) - now, 0.0, _HIGHEST, xtol=1e-10)
        walk.keep_inside(limits[look])
    return limits


class _Walk:
    """Brownian motion without drift that has not crossed a boundary so far: its density at Gauss-Legendre nodes."""

    def __init__(self, information: Floats) -> None:
        # Nodes over ±_HIGHEST no further apart than half the spread of the shortest step: exact to rounding.
        apart = np.sqrt(np.diff(information, prepend=0.0).min())
        self._nodes, self._weights = _quadrature(64 * int(np.ceil(8 * _HIGHEST / apart / 64)))
        self._start, self._mass = np.zeros(1), np.ones(1)  # mass: density times quadrature weight
        self._time = 0.0
        self._spread = 0.0  # of the step to the look

    def reach(self, time: float) -> None:
        """Go on to a look, before its boundary."""
        self._spread, self._time = float(np.sqrt(time - self._time)), time

    def exit(self, boundary: float) -> float:
        """Chance to be beyond ±boundary, a normal quantile, at this look."""
        limit = boundary * np.sqrt(self._time)
        beyond = ndtr((self._start - limit) / self._spread) + ndtr((-limit - self._start) / self._spread)
        return float(self._mass @ beyond)

    def keep_inside(self, boundary: float) -> None:
        """Stop what is beyond ±boundary."""
        limit = min(boundary, _HIGHEST) * np.sqrt(self._time)
        moved = (limit * self._nodes[:, None] - self._start) / self._spread
        density = np.exp(-(moved**2) / 2) @ self._mass / (np.sqrt(2 * np.pi) * self._spread)
        self._start, self._mass = limit * self._nodes, limit * self._weights * density


@lru_cache(maxsize=8)
def _quadrature(nodes: int) -> tuple[Floats, Floats]:
    return np.polynomial.legendre.leggauss(nodes)


def _information(looks: int | Sequence[float]) -> Floats:
    if isinstance(looks, int):
        if not 1 <= looks <= 1 / _LEAST_STEP:
            raise EvaluationError(f"A test has one look at least and {1 / _LEAST_STEP:.0f} at most, not {looks}.")
        return np.arange(1, looks + 1) / looks
    information = check_numbers("looks", looks)
    if information.ndim != 1 or information[-1] > 1 + 1e-9:
        raise EvaluationError(f"looks must be shares of information up to 1; they end with {information[-1]}.")
    close = np.diff(information, prepend=0.0) < _LEAST_STEP - 1e-9
    if close.any():
        raise EvaluationError(
            f"looks must rise by {_LEAST_STEP} at least; looks[{int(np.argmax(close))}] is "
            f"{information[np.argmax(close)]}. Leave out looks that see next to nothing new."
        )
    return information
