"""AUC and F1 of impressions, with intervals over users."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Estimate, Floats, UserBootstrap


def auc(label: NDArray[np.bool_], score: Floats, page: NDArray[np.int64], bootstrap: UserBootstrap) -> Estimate:
    """Area under the ROC curve of impressions `label`, `score [impressions]`; ties count half.

    `page [impressions]` says which of the bootstrap's pages each is on. The point estimate is scikit-learn's; resamples
    weigh impressions in one sorted pass each. Raises EvaluationError where all labels are the same.
    """
    if label.all() or not label.any():
        raise EvaluationError("AUC is undefined: all labels are the same.")
    order = np.argsort(score, kind="stable")
    ranked, positive = score[order], label[order]
    unit = bootstrap.units[page[order]]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # last of each run of equal scores
    replicated = np.empty(bootstrap.replicates)
    for row, counts in enumerate(bootstrap.counts):
        weight = counts[unit].astype(np.float64)
        positives = np.diff(np.cumsum(weight * positive)[ends], prepend=0)
        below = np.cumsum(weight * ~positive)[ends]
        negatives = np.diff(below, prepend=0)
        pairs = positives.sum() * below[-1]
        replicated[row] = (positives * (below - negatives / 2)).sum() / pairs if pairs else np.nan
    return bootstrap.interval(float(roc_auc_score(label, score)), replicated)


def f1(
    label: NDArray[np.bool_], score: Floats, threshold: float, page: NDArray[np.int64], bootstrap: UserBootstrap
) -> Estimate:
    """F1 of "score ≥ threshold" for impressions `label`, `score [impressions]` on `page [impressions]`.

    Raises EvaluationError where no label is positive.
    """
    if not label.any():
        raise EvaluationError("F1 is undefined: no label is positive.")
    predicted = score >= threshold
    columns = np.stack([label & predicted, label.astype(int) + predicted], axis=1).astype(np.float64)
    by_page = [np.bincount(page, weights=column, minlength=bootstrap.pages) for column in columns.T]
    sums = bootstrap.sums(np.stack(by_page, axis=1).astype(np.float64))
    with np.errstate(invalid="ignore"):
        replicated = 2 * sums[:, 0] / sums[:, 1]
    return bootstrap.interval(float(f1_score(label, predicted)), replicated)


def best_threshold(label: NDArray[np.bool_], score: Floats) -> float:
    """The score from which on "positive" has the highest F1 on `label`, `score [impressions]`; the larger one on ties.

    Choose it on other pages than those that F1 is reported on. Infinite where no label is positive.
    """
    if not label.any():
        return float("inf")
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    hits = np.cumsum(label[order])
    score_of_threshold = 2 * hits / (np.arange(1, len(score) + 1) + hits[-1])
    score_of_threshold[:-1][ranked[1:] == ranked[:-1]] = 0  # a threshold cannot part equal scores
    return float(ranked[np.argmax(score_of_threshold)])
