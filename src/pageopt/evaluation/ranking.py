"""Metrics of a ranking by score of what a page showed.

Arrays are `[pages, slots]` in the order shown. A slot is masked by a score (or label) of NaN, or a score of −inf: it is
not ranked and its label is not read. Where scores tie, a metric is its mean over all orders of the tied slots, so that
a constant score gains nothing from the order in which slots are stored.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import comb

from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Floats


def _matrix(name: str, value: ArrayLike) -> Floats:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise EvaluationError(f"{name} must have shape [pages, slots] with at least one of each, not {array.shape}.")
    return array


def _labels_and_scores(label: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    labels, scores = _matrix("label", label), _matrix("score", score)
    if labels.shape != scores.shape:
        raise EvaluationError(f"score has shape {scores.shape}, but label has {labels.shape}; they must be the same.")
    masked = np.isnan(labels) | np.isnan(scores) | np.isneginf(scores)
    labels, scores = np.where(masked, 0.0, labels), np.where(masked, -np.inf, scores)
    if (labels < 0).any() or np.isinf(labels).any():
        where = tuple(int(i) for i in np.argwhere((labels < 0) | np.isinf(labels))[0])
        raise EvaluationError(f"label{list(where)} is {labels[where]}; labels are finite and not negative.")
    return labels, scores


def page_ndcg(label: ArrayLike, score: ArrayLike) -> Floats:
    """NDCG of each page, `[pages]`: gain `label`, discount 1/log2(rank + 1); NaN where no label is positive."""
    labels, scores = _labels_and_scores(label, score)
    discount = 1 / np.log2(np.arange(labels.shape[1]) + 2)
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked, gains = np.take_along_axis(scores, order, 1), np.take_along_axis(labels, order, 1)
    dcg = (_mean_within_ties(np.broadcast_to(discount, labels.shape), ranked) * gains).sum(axis=1)
    ideal = (-np.sort(-labels, axis=1) * discount).sum(axis=1)
    return np.divide(dcg, ideal, out=np.full(len(labels), np.nan), where=ideal > 0)


def _mean_within_ties(value: Floats, ranked: Floats) -> Floats:
    """`value [pages, slots]` averaged over each run of equal scores in `ranked`, which is sorted by page."""
    new_run = np.ones(ranked.shape, dtype=bool)
    new_run[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    run = np.cumsum(new_run.ravel()) - 1
    return (np.bincount(run, weights=value.ravel()) / np.bincount(run))[run].reshape(ranked.shape)


def page_reciprocal_rank(label: ArrayLike, score: ArrayLike) -> Floats:
    """1/rank of the best-ranked slot with a positive label, `[pages]`; NaN where there is none."""
    labels, scores = _labels_and_scores(label, score)
    positive = labels > 0
    has_any = positive.any(axis=1)
    best = np.where(positive, scores, -np.inf).max(axis=1, keepdims=True)
    ahead = (scores > best).sum(axis=1)
    tied = scores == best
    group, hits = tied.sum(axis=1), (tied & positive).sum(axis=1)
    expected = np.zeros(len(labels))
    for place in range(1, labels.shape[1] + 1):
        # Of all orders of the tied group, this share has its first hit at `place`.
        chance = comb(group - place, hits - 1) / np.maximum(comb(group, hits), 1)
        expected += np.where((place <= group) & has_any, chance / (ahead + place), 0)
    return np.where(has_any, expected, np.nan)


def _mean_of_defined(name: str, values: Floats) -> float:
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        raise EvaluationError(f"{name} is undefined: no page has a positive label.")
    return float(defined.mean())


def ndcg(label: ArrayLike, score: ArrayLike) -> float:
    """Mean NDCG of `label [pages, slots]` ranked by `score [pages, slots]`, over pages with a positive label.

    Gain is the label itself, discount 1/log2(rank + 1), as `sklearn.metrics.ndcg_score`. Masked slots: see the module.
    Raises EvaluationError on shapes that differ, negative labels, or no positive label at all.
    """
    return _mean_of_defined("NDCG", page_ndcg(label, score))


def mrpr(label: ArrayLike, score: ArrayLike) -> float:
    """Mean reciprocal purchase rank (TRNN, section 7.1): mean of 1/rank of the first purchased slot by `score`.

    `label` and `score` are `[pages, slots]`; a purchase is a label above 0; pages without one do not count.
    Masked slots: see the module. Raises EvaluationError on shapes that differ, negative labels, or no positive label.
    """
    return _mean_of_defined("MRPR", page_reciprocal_rank(label, score))


def precision_at_k(label: ArrayLike, k: int) -> float:
    """Share of positive labels among the first `k` slots of `label [pages, slots]`, mean over pages.

    Slots are in the order shown; a masked label (NaN) counts as not positive, and a shorter page is still divided by k.
    Raises EvaluationError unless 1 ≤ k ≤ slots.
    """
    labels = _matrix("label", label)
    if not 1 <= k <= labels.shape[1]:
        raise EvaluationError(f"k must be from 1 to the {labels.shape[1]} slots of label, not {k}.")
    return float((labels[:, :k] > 0).sum(axis=1).mean() / k)


def ilad(categories: ArrayLike) -> float:
    """Intra-list average distance: share of pairs of slots whose categories differ, mean over pages (DHANR, ILAD).

    `categories [pages, slots]` holds one label a slot, numbers or strings: the paper's Jaccard similarity of two
    categories is then 1 or 0. Negative numbers, NaN and None mask a slot; a page with fewer than two slots does not
    count. Raises EvaluationError where no page counts.
    """
    labels = np.asarray(categories)
    if labels.ndim != 2:
        raise EvaluationError(f"categories must have shape [pages, slots], not {labels.shape}.")
    shown = _is_label(labels)
    slots = labels.shape[1]
    differ, pairs = np.zeros(len(labels)), np.zeros(len(labels))
    for i in range(slots):
        for j in range(i + 1, slots):
            both = shown[:, i] & shown[:, j]
            pairs += both
            differ += both & (labels[:, i] != labels[:, j])
    counted = pairs > 0
    if not counted.any():
        raise EvaluationError("ILAD is undefined: no page of categories has two slots that are not masked.")
    return float((differ[counted] / pairs[counted]).mean())


def _is_label(labels: NDArray) -> NDArray[np.bool_]:
    if labels.dtype.kind in "iuf":
        return labels >= 0  # NaN compares false
    return np.array([[value is not None and value == value for value in row] for row in labels], dtype=bool)
