"""Importance weights by slot, and what they say about how far a log can be trusted to judge a policy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Floats, UserBootstrap

# Limits beyond which a warning is given.
# A mean weight so many standard errors from 1 is not chance: 1 in 15,000 for a normal, and weights have heavier tails.
MAX_MEAN_WEIGHT_Z = 4.0
# The chance that mean weights of groups of pages are so far from 1 together; small, as weights have heavy tails.
MIN_GROUPS_P = 1e-6
# Of a group with fewer matches to expect, chance alone can put the mean weight anywhere.
_EXPECTED_MATCHES = 30
# The policy's own traffic of so many pages would give a CTR of 50 % to within 14 % of itself (one standard error).
MIN_EFFECTIVE_PAGES = 50
# Each cut weight is a bias towards q̂ (DR) or towards nothing (IPS).
MAX_CLIPPED_SHARE = 0.01
# Share of pages that say anything about the policy. A random log has about slots/candidates: below it, 1 in 100.
MIN_OVERLAP = 0.01


@dataclass(frozen=True)
class Weights:
    """Item-position weights of one target policy on logged pages; `[pages, slots]`.

    Attributes:
        raw: w = π(a_s|x,s)/p_s, 0 in a slot that the log does not show.
        clipped: the same, at most `max_weight`; what the estimators use.
        filled: the chance that the policy fills the slot, 0 where it does not count; E[raw] if propensities are right.
        wanted: the module that the policy shows in the slot, -1 where none or where it does not count; None for a
            stochastic policy.
    """

    raw: Floats
    clipped: Floats
    filled: Floats
    wanted: NDArray[np.int64] | None = None


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
    wanted = np.where(shows, target, -1)
    return _weights(chance, logged, propensity, shows.astype(np.float64), max_weight, wanted)


def stochastic_weights(
    probability: Floats, logged: NDArray, propensity: NDArray, counted: NDArray[np.bool_], max_weight: float
) -> Weights:
    """Weights π(a_s|s)/p_s of a policy that ignores contexts, with marginals `probability [slots, modules]`."""
    slot = np.arange(logged.shape[1])
    chance = np.where((logged >= 0) & counted, probability[slot, np.maximum(logged, 0)], 0.0)
    filled = np.where(counted, probability.sum(axis=1), 0.0)
    return _weights(chance, logged, propensity, filled, max_weight)


def _weights(
    chance: Floats,
    logged: NDArray,
    propensity: NDArray,
    filled: Floats,
    max_weight: float,
    wanted: NDArray[np.int64] | None = None,
) -> Weights:
    needed = (logged >= 0) & ~((propensity > 0) & (propensity <= 1))
    if needed.any():
        where = tuple(int(i) for i in np.argwhere(needed)[0])
        raise EvaluationError(
            f"propensity{list(where)} is {propensity[where]} for a module that was shown; it must lie in (0, 1]. Leave "
            "out pages whose logging policy is not known, or log its propensities."
        )
    raw = np.divide(chance, propensity, out=np.zeros(logged.shape), where=chance > 0)
    return Weights(raw, np.minimum(raw, max_weight), filled, wanted)


@dataclass(frozen=True)
class MeanWeight:
    """Mean weight of a slot the policy fills: 1 if the propensities are right and the log could have shown all of the
    policy's modules; and its distance from 1 in standard errors over users.
    """

    mean: float
    z: float


@dataclass(frozen=True)
class Groups:
    """Mean weights by wanted module or by modules available, whichever is less likely.

    `p` is the chance that all mean weights are so far from 1 together (χ²); `group`, `mean` and `z` are those of the
    one that is farthest.
    """

    by: str
    p: float
    group: int
    mean: float
    z: float


@dataclass(frozen=True)
class Diagnosis:
    """How well a log covers a policy, and whether its propensities can be right.

    Attributes:
        match_rate: share of the policy's slots where the log shows its module.
        effective_pages: Σ over slots of (Σw)²/Σw², divided by the slots that count: pages of the policy's own traffic
            that would say as much. Warns below MIN_EFFECTIVE_PAGES.
        clipped_share: share of the positive weights that were cut at max_weight. Warns above MAX_CLIPPED_SHARE.
        overlap: share of pages where at least one slot matches. Warns below MIN_OVERLAP.
        mean_weight, mean_weight_z: see `MeanWeight`; None where the policy fills no slot. Warns beyond
            MAX_MEAN_WEIGHT_Z.
        slots: the same for each slot, None where the policy never fills it.
        groups: None where all groups are too small to judge. Warns below MIN_GROUPS_P.
        consistent: no mean weight is further from 1 than chance allows.
        warnings: one line for each limit passed.
    """

    match_rate: float
    effective_pages: float
    clipped_share: float
    overlap: float
    mean_weight: float | None
    mean_weight_z: float | None
    slots: list[MeanWeight | None]
    groups: Groups | None
    consistent: bool
    warnings: list[str]


def diagnose(weights: Weights, bootstrap: UserBootstrap, available: NDArray[np.int64] | None = None) -> Diagnosis:
    """Judge weights by what they must be if the propensities are right.

    Then the mean weight is 1 on any pages chosen by their contexts. It is judged on all pages, slot by slot, by the
    module that the policy wants, and by the number of modules `available [pages]`: propensities that were mixed up
    between pages or modules can have a mean weight of 1 over all of them.
    """
    positive, counted = weights.raw > 0, weights.filled > 0
    squares = (weights.clipped**2).sum(axis=0)
    sums = weights.clipped.sum(axis=0)
    used = squares > 0
    effective_pages = float((sums[used] ** 2 / squares[used]).sum() / max(int(counted.any(axis=0).sum()), 1))
    clipped_share = float((weights.raw > weights.clipped).sum() / max(positive.sum(), 1))
    overlap = float(positive.any(axis=1).mean())
    slots = [_mean_weight(weights.raw[:, [s]], weights.filled[:, [s]], bootstrap) for s in range(counted.shape[1])]
    overall = _mean_weight(weights.raw, weights.filled, bootstrap)
    groups = _groups(weights, available, bootstrap)
    odd = _odd_means(overall, slots, groups)
    return Diagnosis(
        match_rate=float(positive.sum() / max(counted.sum(), 1)),
        effective_pages=effective_pages,
        clipped_share=clipped_share,
        overlap=overlap,
        mean_weight=overall.mean if overall else None,
        mean_weight_z=overall.z if overall else None,
        slots=slots,
        groups=groups,
        consistent=not odd,
        warnings=[*odd, *_thin(effective_pages, clipped_share, overlap)],
    )


def _odd_means(overall: MeanWeight | None, slots: list[MeanWeight | None], groups: Groups | None) -> list[str]:
    """Mean weights that are not 1, in words."""
    why = "wrong propensities, or modules that the log could not show"
    places = [("", overall)] + [(f" in slot {slot}", entry) for slot, entry in enumerate(slots, 1)]
    odd = [
        f"mean weight {entry.mean:.3f}{where} is {entry.z:+.1f} standard errors from 1: {why}"
        for where, entry in places
        if entry is not None and abs(entry.z) > MAX_MEAN_WEIGHT_Z
    ]
    if groups is not None and groups.p < MIN_GROUPS_P:
        odd.append(
            f"mean weights by {groups.by} differ from 1 by more than chance allows, most with {groups.group}: "
            f"{groups.mean:.3f}; {why}"
        )
    return odd


def _thin(pages: float, clipped: float, overlap: float) -> list[str]:
    """Limits of effective pages, clipping and overlap that were passed, in words."""
    warnings = []
    if pages < MIN_EFFECTIVE_PAGES:
        warnings.append(f"the log is worth {pages:.0f} pages of the policy's own traffic, below {MIN_EFFECTIVE_PAGES}")
    if clipped > MAX_CLIPPED_SHARE:
        warnings.append(f"{clipped:.1%} of the weights were cut at max_weight, which biases every estimate but DM")
    if overlap < MIN_OVERLAP:
        warnings.append(f"{overlap:.2%} of the logged pages agree with the policy anywhere, below {MIN_OVERLAP:.0%}")
    return warnings


def _groups(weights: Weights, available: NDArray[np.int64] | None, bootstrap: UserBootstrap) -> Groups | None:
    labels: dict[str, NDArray[np.int64]] = {}
    if weights.wanted is not None:
        labels["wanted module"] = weights.wanted
    if available is not None:
        labels["modules available"] = np.broadcast_to(available[:, None], weights.raw.shape)
    worst: Groups | None = None
    for by, label in labels.items():
        means = _group_means(weights, label, bootstrap)
        if not len(means.group):
            continue
        p = float(chi2.sf((means.z**2).sum(), len(means.z)))
        if worst is None or p < worst.p:
            at = int(np.abs(means.z).argmax())
            worst = Groups(by, p, int(means.group[at]), float(means.mean[at]), float(means.z[at]))
    return worst


@dataclass(frozen=True)
class _GroupMeans:
    """Groups with matches enough to judge: their mean weights, and how far these are from 1 in standard errors."""

    group: NDArray[np.int64]
    mean: Floats
    z: Floats


def _group_means(weights: Weights, label: NDArray[np.int64], bootstrap: UserBootstrap) -> _GroupMeans:
    """Mean weights by `label [pages, slots]`; slots below 0 belong to no group."""
    page, slot = np.nonzero((label >= 0) & ((weights.filled > 0) | (weights.raw > 0)))
    names, group = np.unique(label[page, slot], return_inverse=True)
    raw, filled = weights.raw[page, slot], weights.filled[page, slot]

    def by_group(values: Floats) -> Floats:
        return np.bincount(group, weights=values, minlength=len(names)).astype(np.float64)

    # As in _mean_weight, by user: sums of residuals of each user in each group, then of their squares.
    key, place = np.unique(bootstrap.units[page] * len(names) + group, return_inverse=True)
    squares = np.bincount(place, weights=raw - filled) ** 2
    spread = np.bincount(key % max(len(names), 1), weights=squares, minlength=len(names))
    totals, expected = by_group(raw), by_group(filled)
    matches = np.maximum(by_group((raw > 0).astype(np.float64)), 1)
    typical = totals / matches
    # A group that happens to match seldom shows little of its spread: what slots with such weights have is its least.
    spread = np.maximum(spread, expected * (typical - 1))
    enough = (totals > 0) & (expected >= _EXPECTED_MATCHES * typical) & (spread > 0)
    return _GroupMeans(
        names[enough],
        totals[enough] / expected[enough],
        (totals[enough] - expected[enough]) / np.sqrt(spread[enough]),
    )


def _mean_weight(raw: Floats, filled: Floats, bootstrap: UserBootstrap) -> MeanWeight | None:
    if filled.sum() == 0:
        return None
    mean = float(raw.sum() / filled.sum())
    # Under the hypothesis the residuals w − filled have mean 0; users are independent, their pages are not.
    residual = bootstrap.unit_sums((raw - filled).sum(axis=1, keepdims=True))[:, 0]
    spread = float(np.sqrt((residual**2).sum()))
    return MeanWeight(mean, float(residual.sum() / spread) if spread > 0 else 0.0)
