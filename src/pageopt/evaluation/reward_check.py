"""Can q̂ be trusted: is it calibrated on the pages it is used on, and has it never seen them?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Floats, UserBootstrap

# Limits beyond which a warning is given.
# A cross-fitted q̂ is right on average by construction, folds being taught by each other.
MAX_RESIDUAL_SHARE = 0.1
MAX_Z = 4.0
_LEAST_CHANCE = 1e-6  # of a probability in a logarithm


@dataclass(frozen=True)
class RewardCheck:
    """q̂ of one reward on the modules that the log shows.

    Attributes:
        mean_residual: mean of r − q̂ a page; `residual_share` of the mean reward, None where there is none.
        residual_z: its distance from 0 in standard errors over users.
        loss: mean cross-entropy a slot of the q̂ that the estimates use.
        loss_cross_fitted: of models that were not fitted on the page; the same, or the estimates use another q̂.
        loss_in_sample: of models that were fitted on the page, what knowing it beforehand is worth.
        loss_constant: of the mean reward alone.
        warnings: one line for each limit passed.
    """

    mean_residual: float
    residual_share: float | None
    residual_z: float
    loss: float
    loss_cross_fitted: float
    loss_in_sample: float
    loss_constant: float
    warnings: list[str]


def check_reward_model(
    name: str,
    reward: Floats,
    used: Floats,
    cross_fitted: Floats,
    in_sample: Floats,
    shown: np.ndarray,
    bootstrap: UserBootstrap,
) -> RewardCheck:
    """Check the q̂ that estimates use against models that are known to have seen a page, or not.

    A q̂ that was fitted on its own test pages has a lower loss on them than a cross-fitted one can have: it knows their
    rewards. Estimates by it are too sure and lean towards DM, as its residuals no longer show its errors.

    Args:
        name: of the reward, for the warnings.
        reward: `[pages, slots]` of 0 and 1.
        used: `[pages, slots]` q̂ of the modules shown, as the estimates use it.
        cross_fitted, in_sample: the same by the reward model, of folds that never saw the page and of one that did.
        shown: bool `[pages, slots]`.
        bootstrap: says which pages are one user's.

    Raises EvaluationError where the log shows nothing.
    """
    if not shown.any():
        raise EvaluationError("The log shows no module, so there is nothing to check the reward model on.")
    residual = np.where(shown, reward - used, 0.0).sum(axis=1)
    mean, rewards = float(residual.mean()), float(reward[shown].sum() / len(reward))
    share, z = mean / rewards if rewards else None, bootstrap.z(residual)
    constant = np.full(reward.shape, reward[shown].mean())
    losses = [log_loss(reward, q, shown) for q in (used, cross_fitted, in_sample, constant)]
    loss, honest, seen, least = (float(each.sum() / shown.sum()) for each in losses)
    check = RewardCheck(mean, share, z, loss, honest, seen, least, warnings=[])
    return replace(check, warnings=list(_warnings(name, check, losses, bootstrap)))


def _warnings(name: str, check: RewardCheck, losses: list[Floats], bootstrap: UserBootstrap) -> Iterator[str]:
    """The limits that `check` passes; `losses` are those whose means it holds, each `[pages, slots]`, in its order."""
    used, cross_fitted, _, constant = losses
    share, z = check.residual_share, check.residual_z
    if share is not None and abs(share) > MAX_RESIDUAL_SHARE and abs(z) > MAX_Z:
        yield f"q̂ of {name} is off by {-share:+.0%} of the mean reward on the logged pages: DM is wrong by as much"
    if _less(used, cross_fitted, bootstrap):
        yield (
            f"q̂ of {name} knows its pages better than models that never saw them ({check.loss:.4f} "
            f"against {check.loss_cross_fitted:.4f}): it was fitted on them, and intervals by it are too narrow"
        )
    if _less(constant, cross_fitted, bootstrap):
        yield f"q̂ of {name} predicts worse than its mean on pages it has not seen: it is overfitted"


def _less(first: Floats, second: Floats, bootstrap: UserBootstrap) -> bool:
    """Whether a loss `[pages, slots]` is less than another by more than chance allows."""
    gain = (first - second).sum(axis=1)
    return bool(gain.sum() < 0) and bootstrap.z(gain) < -MAX_Z


def log_loss(reward: Floats, q: Floats, shown: np.ndarray) -> Floats:
    """Of P(reward) `q`, `[pages, slots]`; 0 where nothing is shown."""
    chance = np.clip(q, _LEAST_CHANCE, 1 - _LEAST_CHANCE)
    return np.where(shown, -(reward * np.log(chance) + (1 - reward) * np.log1p(-chance)), 0.0)
