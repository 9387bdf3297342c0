"""Propensities of a module given the modules above it, as Cascade-DR needs them; logs hold marginal ones.

They are known where the log shows uniformly random orders: whatever is above, each of the modules left is as likely.
Of a Thompson sampler the chance of a module given those above would need the posterior of that day; a log does not hold
it, and marginal propensities in its place would bias the weights without a sign of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Floats

UNIFORM = "random"
# With fewer pages that agree down to a slot, its correction of q̂ is chance, and a bootstrap cannot know how much.
MIN_AGREEING = 30


def conditional_propensity(available: NDArray[np.int64], slots: int) -> Floats:
    """p(a_s | a_{<s}) = 1/(N − s + 1), `[pages, slots]`, of uniformly random orders of `available [pages]` = N modules.

    NaN in slots that N modules do not fill. Raises EvaluationError where a page has no module.
    """
    if (available < 1).any():
        raise EvaluationError(
            f"available[{int(np.argmin(available))}] is below 1: a page needs a module to choose from."
        )
    left = available[:, None] - np.arange(slots)
    return np.divide(1.0, left, out=np.full(left.shape, np.nan), where=left > 0)


def cascade_ratio(target: NDArray, logged: NDArray, available: NDArray[np.int64]) -> Floats:
    """1[π_s = a_s]/p(a_s | a_{<s}), `[pages, slots]`, of pages `target` and random pages `logged` (-1 empty)."""
    conditional = conditional_propensity(available, logged.shape[1])
    return np.divide(1.0, conditional, out=np.zeros(logged.shape), where=(target == logged) & (logged >= 0))


def unknown_conditionals(
    policy: NDArray, logged: NDArray, propensity: NDArray, available: NDArray[np.int64] | None, single: bool
) -> str | None:
    """Why the conditional propensities of a log are not known, in words; None where they are.

    Args:
        policy: `[pages]` names of the logging policies.
        logged, propensity: `[pages, slots]` of the log, -1 and NaN where empty.
        available: `[pages]` number of candidates, None where the log does not hold them.
        single: the log shows one slot a page.
    """
    if single:
        return "the log shows one slot a page, so the modules above are not known"
    others = sorted({str(name) for name in policy} - {UNIFORM})
    if others:
        return (
            f"pages of {', '.join(others)} traffic: the chance of a module given those above follows from the log of "
            f"uniformly random orders (policy {UNIFORM!r}) only"
        )
    if available is None:
        return "the log does not hold the candidates of its pages"
    shown = logged >= 0
    uniform = np.broadcast_to(1 / np.maximum(available, 1)[:, None], logged.shape)
    if not np.allclose(propensity[shown], uniform[shown], rtol=1e-6):
        return f"propensities of {UNIFORM!r} pages are not 1/candidates, so their orders were not uniformly random"
    filled = np.arange(logged.shape[1]) < np.minimum(available, logged.shape[1])[:, None]
    if not np.array_equal(shown, filled):
        return f"some {UNIFORM!r} pages have empty slots though modules were left"
    return None


@dataclass(frozen=True)
class CascadeSupport:
    """Pages that agree with the policy down to each slot; `warning` says from which on fewer than MIN_AGREEING do."""

    pages: list[int]
    warning: str | None


def cascade_support(weight: Floats) -> CascadeSupport:
    """What the weights w_{1:s} `[pages, slots]` rest on."""
    agreeing = (weight > 0).sum(axis=0)
    few = np.flatnonzero(agreeing < MIN_AGREEING)
    warning = None
    if few.size:
        warning = (
            f"Cascade-DR leaves slots from {int(few[0]) + 1} on to q̂: {int(agreeing[few[0]])} logged pages agree with "
            f"the policy down to there, fewer than {MIN_AGREEING}"
        )
    return CascadeSupport(agreeing.tolist(), warning)
