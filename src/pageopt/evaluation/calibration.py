"""Is a probability what it says: calibration curve and expected calibration error, with intervals over users.

Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015, with bins of
equally many impressions, since probabilities of a click are small and close together.
"""

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Estimate, Floats, UserBootstrap

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Impressions of similar probability: how many, its mean, and the rate that came, with its interval."""

    count: int
    predicted: float
    observed: float
    low: float
    high: float


def calibration(
    label: NDArray[np.bool_], chance: Floats, page: NDArray[np.int64], bootstrap: UserBootstrap, bins: int = BINS
) -> tuple[Estimate, list[Bin]]:
    """How well `chance [impressions]` predicts `label [impressions]`: expected calibration error, and its curve.

    The error is Σ_b (n_b/n)·|observed_b − predicted_b|. A resample adds its own noise to every bin, so its interval
    reaches higher above it than below.

    Args:
        label: what came.
        chance: probability in [0, 1].
        page: `[impressions]` which of the bootstrap's pages each is on.
        bootstrap: resamples of users; bins stay those of the sample.
        bins: bins between quantiles of `chance`; those that ties leave empty are left out.

    Raises EvaluationError where there are no impressions or a chance does not lie in [0, 1].
    """
    if not len(chance) or not ((chance >= 0) & (chance <= 1)).all():
        raise EvaluationError(
            f"chance must hold probabilities in [0, 1] of at least one impression; there are {len(chance)} numbers"
            + (f" from {chance.min()} to {chance.max()}." if len(chance) else ".")
        )
    edges = np.quantile(chance, np.linspace(0, 1, bins + 1))
    _, place = np.unique(np.searchsorted(edges[1:-1], chance), return_inverse=True)
    filled = int(place.max()) + 1
    at = page * filled + place

    def by_page(weight: NDArray) -> Floats:
        sums: Floats = np.bincount(at, weights=weight, minlength=bootstrap.pages * filled).astype(np.float64)
        return sums.reshape(bootstrap.pages, filled)

    columns = np.hstack([by_page(np.ones(len(chance))), by_page(chance), by_page(label.astype(np.float64))])
    count, predicted, observed = np.split(columns.sum(axis=0), 3)
    counts, predictions, observations = np.split(bootstrap.sums(columns), 3, axis=1)
    with np.errstate(invalid="ignore"):
        rates = observations / counts
    errors = np.abs(observations - predictions).sum(axis=1) / counts.sum(axis=1)
    error = bootstrap.interval(float(np.abs(observed - predicted).sum() / count.sum()), errors)
    shares, means = observed / count, predicted / count
    between = [bootstrap.interval(float(shares[b]), rates[:, b]) for b in range(filled)]
    return error, [Bin(int(count[b]), float(means[b]), *astuple(between[b])) for b in range(filled)]
