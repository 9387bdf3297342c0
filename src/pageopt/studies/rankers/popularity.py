"""How often modules are clicked and bought from where they were shown, overall and by segment of pages."""

import numpy as np
from numpy.typing import NDArray

from pageopt.features.batch.sampling import EXPLORATION
from pageopt.features.pages import Pages
from pageopt.models.item.heads import HEADS

Rates = NDArray[np.float64]


def overall_rates(pages: Pages, modules: int, prior_views: float) -> Rates:
    """Rates `[M, Q]` by module and head, each pulled toward the mean of all modules by `prior_views` views.

    Counted on exploration pages where there are any: what production shows on top would seem popular for its place.
    """
    earned, views = (counts[0] for counts in _counts(pages, np.zeros(len(pages), dtype=np.int64), 1, modules))
    return _shrunk(earned, views, earned.sum(axis=0) / max(views.sum(), 1.0), prior_views)


def segment_rates(pages: Pages, segment: NDArray[np.int64], segments: int, overall: Rates, prior_views: float) -> Rates:
    """Rates `[S, M, Q]` by segment of the page, `segment [P]`, each pulled toward the module's `overall` rate."""
    earned, views = _counts(pages, segment, segments, len(overall))
    return _shrunk(earned, views, overall, prior_views)


def _counts(pages: Pages, segment: NDArray[np.int64], segments: int, modules: int) -> tuple[Rates, Rates]:
    """What was earned `[S, M, Q]` and how often it was shown `[S, M]`, in pages of the traffic."""
    explored = np.isin(pages.policy.astype(str), list(EXPLORATION))
    used = pages.observed & (explored[:, None] if explored.any() else True)
    page, slot = np.nonzero(used)
    cell = segment[page] * modules + pages.module[page, slot]
    weight = pages.weight[page].astype(np.float64)
    size = segments * modules

    def summed(value: Rates) -> Rates:
        return np.bincount(cell, weights=value, minlength=size).astype(np.float64).reshape(segments, modules)

    earned = [summed(weight * getattr(pages, head)[page, slot]) for head in HEADS]
    return np.stack(earned, axis=-1), summed(weight)


def _shrunk(earned: Rates, views: Rates, prior: Rates, prior_views: float) -> Rates:
    return (earned + prior_views * prior) / (views + prior_views)[..., None]


def of_shown(rates: Rates, pages: Pages) -> Rates:
    """`rates`, `[M, Q]`, or by page `[P, M, Q]`, of the modules that pages show, `[P, K, Q]`; 0 in empty slots."""
    at = np.maximum(pages.module, 0)
    shown = rates[at] if rates.ndim == 2 else np.take_along_axis(rates, at[..., None], axis=1)
    return np.where(pages.observed[..., None], shown, 0.0)
