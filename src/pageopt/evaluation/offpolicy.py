"""Off-policy values: what pages of a policy would earn, from logs of another policy with known propensities.

Arrays are `[pages]` or `[pages, slots]`; with slots, a page's value is the sum over its slots (item-position model).
Item-position weights are w = 1[π(x)_s = a_s]/p_s, or π(a_s|x,s)/p_s for a stochastic policy.
Intervals are bootstrapped over `user_id [pages]`; nulls, and no `user_id` at all, make each page its own unit.

Every function raises EvaluationError that names the argument and the index of what is wrong: shapes that differ, a
value that is not finite, a negative weight.
"""

from dataclasses import dataclass
from typing import TypedDict, Unpack

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


def _logged(reward: ArrayLike, weight: ArrayLike) -> tuple[Floats, Floats]:
    """Checked rewards and weights of one shape."""
    rewards = check_numbers("reward", reward)
    weights = check_numbers("weight", weight, shape=rewards.shape)
    if (weights < 0).any():
        where = tuple(int(i) for i in np.argwhere(weights < 0)[0])
        raise EvaluationError(f"weight{list(where)} is {weights[where]}; importance weights cannot be negative.")
    return rewards, weights


def _terms(
    reward: ArrayLike, weight: ArrayLike, q_logged: ArrayLike, q_target: ArrayLike
) -> tuple[Floats, Floats, Floats, Floats]:
    """Checked rewards, weights, q_logged and q_target of one shape."""
    rewards, weights = _logged(reward, weight)
    logged = check_numbers("q_logged", q_logged, shape=rewards.shape)
    return rewards, weights, logged, check_numbers("q_target", q_target, shape=rewards.shape)


def _sum_slots(array: Floats) -> Floats:
    return array if array.ndim == 1 else array.sum(axis=1)


def ips_contributions(reward: ArrayLike, weight: ArrayLike) -> Floats:
    """What each page adds to the IPS mean, `[pages]`: Σ_s w·r."""
    rewards, weights = _logged(reward, weight)
    return _sum_slots(weights * rewards)


def dr_contributions(reward: ArrayLike, weight: ArrayLike, q_logged: ArrayLike, q_target: ArrayLike) -> Floats:
    """What each page adds to the DR mean, `[pages]`: Σ_s q̂(x,s,π_s) + w·(r − q̂(x,s,a_s))."""
    rewards, weights, logged, target = _terms(reward, weight, q_logged, q_target)
    return _sum_slots(target + weights * (rewards - logged))


class Resampling(TypedDict, total=False):
    """How intervals come about: seed (0) and number (1000) of the resamples, confidence (0.95)."""

    seed: int
    replicates: int
    confidence: float


def _mean(contribution: Floats, user_id: ArrayLike | None, how: Resampling) -> Estimate:
    """Mean over pages of `contribution [pages]`, with its interval."""
    return UserBootstrap(len(contribution), user_id, **how).mean(contribution)


def dm(q_target: ArrayLike, user_id: ArrayLike | None = None, **how: Unpack[Resampling]) -> Estimate:
    """Direct method: mean over pages of q̂ on the page the policy would show. As good, and as biased, as q̂."""
    contribution = _sum_slots(check_numbers("q_target", q_target))
    return _mean(contribution, user_id, how)


def ips(reward: ArrayLike, weight: ArrayLike, user_id: ArrayLike | None = None, **how: Unpack[Resampling]) -> Estimate:
    """Inverse propensity scoring: mean over pages of w·r. Unbiased where every page of the policy could be logged."""
    return _mean(ips_contributions(reward, weight), user_id, how)


def snips(
    reward: ArrayLike, weight: ArrayLike, user_id: ArrayLike | None = None, **how: Unpack[Resampling]
) -> Estimate:
    """Self-normalised IPS: Σw·r/Σw over pages, slot by slot, summed over slots.

    Normalising each slot by its own weights keeps the value on the scale of a page, which is what `ips` estimates, and
    keeps a slot with few matches from moving the others. Raises EvaluationError where all weights of a slot are zero.
    """
    rewards, weights = _logged(reward, weight)
    return snips_estimate(rewards, weights, UserBootstrap(len(rewards), user_id, **how))


def snips_estimate(reward: Floats, weight: Floats, bootstrap: UserBootstrap) -> Estimate:
    """`snips` with resamples that other estimates share."""
    rewards, weights = _by_slot(reward), _by_slot(weight)
    _check_matched(weights, "SNIPS")
    return bootstrap.ratio(weights * rewards, weights)


def _by_slot(array: Floats) -> Floats:
    return array.reshape(len(array), -1)


def _check_matched(weights: Floats, estimator: str) -> None:
    empty = np.flatnonzero(weights.sum(axis=0) == 0)
    if empty.size:
        raise EvaluationError(
            f"weight[:, {int(empty[0])}] is zero on every page: no logged page agrees with the policy in that slot, so "
            f"{estimator} is undefined. Use DR, or more logs of a random policy."
        )


def dr(
    reward: ArrayLike,
    weight: ArrayLike,
    q_logged: ArrayLike,
    q_target: ArrayLike,
    user_id: ArrayLike | None = None,
    **how: Unpack[Resampling],
) -> Estimate:
    """Doubly robust: mean over pages of q̂(x,s,π_s) + w·(r − q̂(x,s,a_s)); right where q̂ or the propensities are.

    q̂ must not have been fitted on the page it is used on (`reward_model` cross-fits it).
    """
    contribution = dr_contributions(reward, weight, q_logged, q_target)
    return _mean(contribution, user_id, how)


def sndr_estimate(
    reward: Floats, weight: Floats, q_logged: Floats, q_target: Floats, bootstrap: UserBootstrap
) -> Estimate:
    """Self-normalised DR: Σ_s [ mean q̂(x,s,π_s) + Σw·(r − q̂(x,s,a_s))/Σw ], the sums over pages.

    Dividing by the weights that came, rather than by those expected, takes their chance out of the correction, at the
    price of a bias that falls with the number of matches (Thomas and Brunskill, ICML 2016, weighted doubly robust, for
    one step). Raises EvaluationError where all weights of a slot are zero.
    """
    weights = _by_slot(weight)
    _check_matched(weights, "self-normalised DR")
    correction = weights * (_by_slot(reward) - _by_slot(q_logged))
    direct = _sum_slots(q_target)[:, None]
    return bootstrap.ratio(np.hstack([direct, correction]), np.hstack([np.ones(direct.shape), weights]))


def cascade_weights(ratio: Floats, max_weight: float = np.inf) -> Floats:
    """Weights `[pages, slots]` with which `dr` is Cascade-DR: right where a reward depends on the modules above it.

    Kiyohara, Saito, Matsuhiro, Narita, Shimizu, Yamamoto, "Doubly Robust Off-Policy Evaluation for Ranking Policies
    under the Cascade Behavior Model", WSDM 2022: the mean over pages of

        Σ_s w_{1:s}·(r_s − Q̂_s(x, a_{1:s})) + w_{1:s−1}·E_{m∼π}[Q̂_s(x, a_{1:s−1}, m)],   w_{1:0} = 1,

    where Q̂_s is the reward expected from slot s to the last one under π, and w_{1:s} = Π_{j≤s} π(a_j|x,a_{<j}) /
    p(a_j|x,a_{<j}). Where π(x) is one page, a page with w_{1:s} > 0 shows π's modules down to slot s, so that
    Q̂_s(x, a_{1:s}) = Σ_{l≥s} q̂(x,π_{1:l}) with q̂ of one slot's reward, and the sum telescopes to

        Σ_s q̂(x,π_{1:s}) + w_{1:s}·(r_s − q̂(x,a_{1:s})).

    Args:
        ratio: `[pages, slots]` 1[π_s = a_s]/p(a_s|x,a_{<s}): the propensity given the modules above, not the marginal
            one (`cascade.conditional_propensity`).
        max_weight: w_{1:s} is cut here. The weights grow with every slot; the cut leaves lower slots to q̂.
    """
    return np.minimum(np.cumprod(ratio, axis=1), max_weight)


def difference(
    first: ArrayLike, second: ArrayLike, user_id: ArrayLike | None = None, **how: Unpack[Resampling]
) -> Difference:
    """Paired difference of two policies from their contributions `[pages]` on the same pages.

    The relative change is a ratio of means, and so is each of its resamples.
    """
    firsts = check_numbers("first", first)
    seconds = check_numbers("second", second, shape=firsts.shape)
    if firsts.ndim != 1:
        raise EvaluationError(f"first has shape {firsts.shape}; contributions have one number a page: [pages].")
    return paired(firsts, seconds, UserBootstrap(len(firsts), user_id, **how))


def paired(first: Floats, second: Floats, bootstrap: UserBootstrap) -> Difference:
    """`difference` with resamples that other estimates share."""
    return Difference(bootstrap.mean(first - second), bootstrap.relative_change(first, second))
