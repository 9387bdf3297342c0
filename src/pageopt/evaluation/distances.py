"""Distances between two distributions, for the drift gate."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

# A bin that is empty on one side counts as this share: PSI would be infinite.
_EMPTY = 1e-4


def _bins(reference: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Inner edges of `bins` bins with equal shares of `reference`; fewer where values repeat."""
    return np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))


def _shares(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return counts / len(values)


def _samples(reference: ArrayLike, current: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if first.ndim != 1 or second.ndim != 1 or not len(first) or not len(second):
        raise ValueError(f"two samples [n] and [m] are needed, not {first.shape} and {second.shape}")
    return first, second


def psi(reference: ArrayLike, current: ArrayLike, bins: int = 10) -> float:
    """Population stability index of samples [n] and [m] over quantile bins of the reference."""
    first, second = _samples(reference, current)
    edges = _bins(first, bins)
    p = np.maximum(_shares(first, edges), _EMPTY)
    q = np.maximum(_shares(second, edges), _EMPTY)
    return float(np.sum((q - p) * np.log(q / p)))


def jensen_shannon(reference: ArrayLike, current: ArrayLike) -> float:
    """Jensen-Shannon distance (root of the divergence, base 2) of two sets of counts or shares [categories]: 0 to 1."""
    p, q = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if p.shape != q.shape or p.ndim != 1:
        raise ValueError(f"counts of the same categories are needed, not {p.shape} and {q.shape}")
    if p.sum() == 0 or q.sum() == 0:
        return 0.0 if p.sum() == q.sum() else 1.0
    return float(jensenshannon(p, q, base=2))


def jensen_shannon_of_samples(reference: ArrayLike, current: ArrayLike, bins: int = 10) -> float:
    """Jensen-Shannon distance of samples [n] and [m] over quantile bins of the reference."""
    first, second = _samples(reference, current)
    edges = _bins(first, bins)
    return jensen_shannon(_shares(first, edges), _shares(second, edges))


def wasserstein(reference: ArrayLike, current: ArrayLike) -> float:
    """Wasserstein-1 distance of samples [n] and [m] in standard deviations of the reference (its mean if constant)."""
    first, second = _samples(reference, current)
    scale = first.std() or abs(first.mean()) or 1.0
    return float(wasserstein_distance(first, second) / scale)
