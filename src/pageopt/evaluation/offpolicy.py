"""Off-policy values: what pages of a policy would earn, from logs of another policy with known propensities.

Arrays are `[pages]` or `[pages, slots]`; with slots, a page's value is the sum over its slots (item-position model).
Item-position weights are w = 1[π(x)_s = a_s]/p_s, or π(a_s|x,s)/p_s for a stochastic policy.
Intervals are bootstrapped over `user_id [pages]`; nulls, and no `user_id` at all, make each page its own unit.

Every function raises EvaluationError that names the argument and the index of what is wrong: shapes that differ, a
value that is not finite, a negative weight.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Estimate, Floats, UserBootstrap, check_numbers


@dataclass(frozen=True)
class Difference:
    """first − second, paired by page, and the relative change first/second − 1.

    `relative` is None where the second mean is not clearly positive, so that a ratio to it would mean nothing.
    """

    absolute: Estimate
    relative: Estimate | None


def _check_weight(weight: ArrayLike, shape: tuple[int, ...]) -> Floats:
    array = check_numbers("weight", weight, shape=shape)
    if (array < 0).any():
        where = tuple(int(i) for i in np.argwhere(array < 0)[0])
        raise EvaluationError(f"weight{list(where)} is {array[where]}; importance weights cannot be negative.")
    return array


def _sum_slots(array: Floats) -> Floats:
    return array if array.ndim == 1 else array.sum(axis=1)


def ips_contributions(reward: ArrayLike, weight: ArrayLike) -> Floats:
    """What each page adds to the IPS mean, `[pages]`: Σ_s w·r."""
    rewards = check_numbers("reward", reward)
    return _sum_slots(_check_weight(weight, rewards.shape) * rewards)


def dr_contributions(reward: ArrayLike, weight: ArrayLike, q_logged: ArrayLike, q_target: ArrayLike) -> Floats:
    """What each page adds to the DR mean, `[pages]`: Σ_s q̂(x,s,π_s) + w·(r − q̂(x,s,a_s))."""
    rewards = check_numbers("reward", reward)
    weights = _check_weight(weight, rewards.shape)
    logged = check_numbers("q_logged", q_logged, shape=rewards.shape)
    target = check_numbers("q_target", q_target, shape=rewards.shape)
    return _sum_slots(target + weights * (rewards - logged))


def _bootstrap(pages: int, user_id: ArrayLike | None, seed: int, replicates: int, confidence: float) -> UserBootstrap:
    return UserBootstrap(pages, user_id, seed=seed, replicates=replicates, confidence=confidence)


def dm(
    q_target: ArrayLike,
    user_id: ArrayLike | None = None,
    *,
    seed: int = 0,
    replicates: int = 1000,
    confidence: float = 0.95,
) -> Estimate:
    """Direct method: mean over pages of q̂ on the page the policy would show. As good, and as biased, as q̂."""
    target = check_numbers("q_target", q_target)
    return _bootstrap(len(target), user_id, seed, replicates, confidence).mean(_sum_slots(target))


def ips(
    reward: ArrayLike,
    weight: ArrayLike,
    user_id: ArrayLike | None = None,
    *,
    seed: int = 0,
    replicates: int = 1000,
    confidence: float = 0.95,
) -> Estimate:
    """Inverse propensity scoring: mean over pages of w·r. Unbiased where every page of the policy could be logged."""
    contribution = ips_contributions(reward, weight)
    return _bootstrap(len(contribution), user_id, seed, replicates, confidence).mean(contribution)


def snips(
    reward: ArrayLike,
    weight: ArrayLike,
    user_id: ArrayLike | None = None,
    *,
    seed: int = 0,
    replicates: int = 1000,
    confidence: float = 0.95,
) -> Estimate:
    """Self-normalised IPS: Σw·r/Σw over pages, slot by slot, summed over slots.

    Normalising each slot by its own weights keeps the value on the scale of a page, which is what `ips` estimates, and
    keeps a slot with few matches from moving the others. Raises EvaluationError where all weights of a slot are zero.
    """
    rewards = check_numbers("reward", reward)
    weights = _check_weight(weight, rewards.shape)
    bootstrap = _bootstrap(len(rewards), user_id, seed, replicates, confidence)
    return snips_estimate(rewards, weights, bootstrap)


def snips_estimate(reward: Floats, weight: Floats, bootstrap: UserBootstrap) -> Estimate:
    """`snips` with resamples that other estimates share."""
    rewards, weights = reward.reshape(len(reward), -1), weight.reshape(len(weight), -1)
    empty = np.flatnonzero(weights.sum(axis=0) == 0)
    if empty.size:
        raise EvaluationError(
            f"weight[:, {int(empty[0])}] is zero on every page: no logged page agrees with the policy in that slot, so "
            "SNIPS is undefined. Use DR, or more logs of a random policy."
        )
    return bootstrap.ratio(weights * rewards, weights)


def dr(
    reward: ArrayLike,
    weight: ArrayLike,
    q_logged: ArrayLike,
    q_target: ArrayLike,
    user_id: ArrayLike | None = None,
    *,
    seed: int = 0,
    replicates: int = 1000,
    confidence: float = 0.95,
) -> Estimate:
    """Doubly robust: mean over pages of q̂(x,s,π_s) + w·(r − q̂(x,s,a_s)); right where q̂ or the propensities are.

    q̂ must not have been fitted on the page it is used on (`reward_model` cross-fits it).
    """
    contribution = dr_contributions(reward, weight, q_logged, q_target)
    return _bootstrap(len(contribution), user_id, seed, replicates, confidence).mean(contribution)


def difference(
    first: ArrayLike,
    second: ArrayLike,
    user_id: ArrayLike | None = None,
    *,
    seed: int = 0,
    replicates: int = 1000,
    confidence: float = 0.95,
) -> Difference:
    """Paired difference of two policies from their contributions `[pages]` on the same pages.

    The relative change is a ratio of means, and so is each of its resamples.
    """
    firsts = check_numbers("first", first)
    seconds = check_numbers("second", second, shape=firsts.shape)
    if firsts.ndim != 1:
        raise EvaluationError(f"first has shape {firsts.shape}; contributions have one number a page: [pages].")
    return paired(firsts, seconds, _bootstrap(len(firsts), user_id, seed, replicates, confidence))


def paired(first: Floats, second: Floats, bootstrap: UserBootstrap) -> Difference:
    """`difference` with resamples that other estimates share."""
    return Difference(bootstrap.mean(first - second), bootstrap.relative_change(first, second))
