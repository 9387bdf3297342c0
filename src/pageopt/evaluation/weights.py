"""Importance weights by slot, and what they say about how far a log can be trusted to judge a policy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Floats, UserBootstrap

# A mean weight so many standard errors from 1 is not chance: 1 in 15,000 for a normal, and weights have heavier tails.
_SUSPICIOUS = 4.0


@dataclass(frozen=True)
class Weights:
    """Item-position weights of one target policy on logged pages; `[pages, slots]`.

    Attributes:
        raw: w = π(a_s|x,s)/p_s, 0 in a slot that the log does not show.
        clipped: the same, at most `max_weight`; what the estimators use.
        filled: the chance that the policy fills the slot, 0 where it does not count; E[raw] if propensities are right.
    """

    raw: Floats
    clipped: Floats
    filled: Floats


def match_weights(
    target: NDArray, logged: NDArray, propensity: NDArray, counted: NDArray[np.bool_], max_weight: float
) -> Weights:
    """Weights 1[π_s = a_s]/p_s of a policy that shows `target [pages, slots]` (module indices, -1 where the page ends).

    `logged` and `propensity [pages, slots]` come from the log, `counted [pages, slots]` says which slots count: in a
    log of single slots only the observed one. Raises EvaluationError where shapes differ or a propensity is missing.
    """
    if target.shape != logged.shape:
        raise EvaluationError(
            f"modules has shape {target.shape}, but the log has {logged.shape}: they must be the same."
        )
    shows = (target >= 0) & counted
    chance = np.where(shows & (target == logged), 1.0, 0.0)
    return _weights(chance, logged, propensity, shows.astype(np.float64), max_weight)


def stochastic_weights(
    probability: Floats, logged: NDArray, propensity: NDArray, counted: NDArray[np.bool_], max_weight: float
) -> Weights:
    """Weights π(a_s|s)/p_s of a policy that ignores contexts, with marginals `probability [slots, modules]`."""
    slot = np.arange(logged.shape[1])
    chance = np.where((logged >= 0) & counted, probability[slot, np.maximum(logged, 0)], 0.0)
    filled = np.where(counted, probability.sum(axis=1), 0.0)
    return _weights(chance, logged, propensity, filled, max_weight)


def _weights(chance: Floats, logged: NDArray, propensity: NDArray, filled: Floats, max_weight: float) -> Weights:
    needed = (logged >= 0) & ~((propensity > 0) & (propensity <= 1))
    if needed.any():
        where = tuple(int(i) for i in np.argwhere(needed)[0])
        raise EvaluationError(
            f"propensity{list(where)} is {propensity[where]} for a module that was shown; it must lie in (0, 1]. Leave "
            "out pages whose logging policy is not known, or log its propensities."
        )
    raw = np.divide(chance, propensity, out=np.zeros(logged.shape), where=chance > 0)
    return Weights(raw, np.minimum(raw, max_weight), filled)


def diagnose(weights: Weights, bootstrap: UserBootstrap) -> dict[str, object]:
    """How well the log covers the policy.

    Returns:
        match_rate: share of the policy's slots where the log shows its module.
        effective_pages: Σ over slots of (Σw)²/Σw², divided by the slots that count: pages of the policy's own traffic
            that would say as much.
        clipped_share: share of the positive weights that were cut at max_weight.
        overlap: share of pages where at least one slot matches.
        mean_weight, mean_weight_z: mean weight of a slot the policy fills, 1 if the propensities are right and the log
            could have shown all of the policy's modules, and its distance from 1 in standard errors over users.
        slots: the same two, for each slot, None where the policy never fills it.
        consistent: no mean weight is further from 1 than chance allows.
    """
    positive, counted = weights.raw > 0, weights.filled > 0
    squares = (weights.clipped**2).sum(axis=0)
    sums = weights.clipped.sum(axis=0)
    used = squares > 0
    by_slot = [_mean_weight(weights.raw[:, [s]], weights.filled[:, [s]], bootstrap) for s in range(counted.shape[1])]
    overall = _mean_weight(weights.raw, weights.filled, bootstrap)
    tested = [entry["z"] for entry in [*by_slot, overall] if entry is not None]
    return {
        "match_rate": float(positive.sum() / max(counted.sum(), 1)),
        "effective_pages": float((sums[used] ** 2 / squares[used]).sum() / max(int(counted.any(axis=0).sum()), 1)),
        "clipped_share": float((weights.raw > weights.clipped).sum() / max(positive.sum(), 1)),
        "overlap": float(positive.any(axis=1).mean()),
        "mean_weight": overall["mean"] if overall else None,
        "mean_weight_z": overall["z"] if overall else None,
        "slots": by_slot,
        "consistent": all(abs(z) <= _SUSPICIOUS for z in tested),
    }


def _mean_weight(raw: Floats, filled: Floats, bootstrap: UserBootstrap) -> dict[str, float] | None:
    if filled.sum() == 0:
        return None
    mean = float(raw.sum() / filled.sum())
    # Under the hypothesis the residuals w − filled have mean 0; users are independent, their pages are not.
    residual = bootstrap.unit_sums((raw - filled).sum(axis=1, keepdims=True))[:, 0]
    spread = float(np.sqrt((residual**2).sum()))
    return {"mean": mean, "z": float(residual.sum() / spread) if spread > 0 else 0.0}
