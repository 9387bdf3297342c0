"""Rankers that count: how often modules are clicked and bought from where they were shown, overall or by segment."""

import numpy as np
from numpy.typing import NDArray

from pageopt.features.batch.sampling import EXPLORATION
from pageopt.features.encoder import EncodedPages, Encoder
from pageopt.features.pages import Pages
from pageopt.models.item.heads import HEADS
from pageopt.policies.greedy import greedy_pages
from pageopt.policies.static import static_order, static_pages
from pageopt.problems.item import ITEM

Rates = NDArray[np.float64]
PRIOR_VIEWS = 200.0


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


class _Counted:
    """A ranker whose scores are counted rates, `[M, Q]` the same everywhere unless it has others for a page."""

    def __init__(self, encoder: Encoder) -> None:
        self._family, self._slots = encoder.module_family, encoder.slots
        self._rates: Rates = np.zeros((len(self._family), len(HEADS)))

    def score(self, pages: Pages) -> Rates:
        """The rates of the modules shown; see `Ranker.score`."""
        return of_shown(self._rates_on(pages.encoded), pages)

    def _rates_on(self, encoded: EncodedPages) -> Rates:
        return self._rates


class Static(_Counted):
    """The same page for all: modules by smoothed CTR, or the rate of another head, as most shops do (section 8)."""

    def __init__(self, encoder: Encoder, *, objective: str = "click") -> None:
        super().__init__(encoder)
        self._objective = HEADS.index(objective)

    def fit(self, train: Pages, valid: Pages) -> None:
        """Count."""
        self._rates = overall_rates(train, len(self._family), PRIOR_VIEWS)

    def page(self, encoded: EncodedPages, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        """The most popular candidates; see `Ranker.page`."""
        return static_pages(static_order(self._rates[:, self._objective]), candidates, self._family, self._slots)


class Shuffled(_Counted):
    """What exploration shows, and the least that a model must beat: candidates in random order under the family rule.

    The page at position i depends on the seed and i alone.
    """

    def __init__(self, encoder: Encoder, *, seed: int) -> None:
        super().__init__(encoder)
        self._seed = seed

    def fit(self, train: Pages, valid: Pages) -> None:
        """Learn the mean rates of modules, the same for each."""
        self._rates[:] = overall_rates(train, len(self._family), 1.0).mean(axis=0)

    def page(self, encoded: EncodedPages, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        """A new order for each page; see `Ranker.page`."""
        chance = np.random.default_rng(self._seed).random(candidates.shape)
        return greedy_pages(chance[:, None], candidates, self._family, self._slots)


class SegmentPopularity(_Counted):
    """Modules by their rate on pages of the same hero category, pulled toward their overall rate where views are few.

    `objective` is the head by which pages are made: "click" ranks by CTR, "purchase" by PTR.
    """

    def __init__(self, encoder: Encoder, *, objective: str = "click", prior_views: float = PRIOR_VIEWS) -> None:
        super().__init__(encoder)
        self._column = encoder.categorical_place(ITEM.category)
        self._objective = HEADS.index(objective)
        self._prior_views = prior_views
        self._rates = np.zeros((encoder.cardinalities[self._column], *self._rates.shape))

    def fit(self, train: Pages, valid: Pages) -> None:
        """Count by segment."""
        overall = overall_rates(train, len(self._family), self._prior_views)
        segment = train.encoded.categorical[:, self._column]
        self._rates = segment_rates(train, segment, len(self._rates), overall, self._prior_views)

    def page(self, encoded: EncodedPages, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        """The candidates most popular in the segment; see `Ranker.page`."""
        rate = np.take_along_axis(self._rates_on(encoded)[..., self._objective], np.maximum(candidates, 0), axis=1)
        return greedy_pages(rate[:, None], candidates, self._family, self._slots)

    def _rates_on(self, encoded: EncodedPages) -> Rates:
        return self._rates[encoded.categorical[:, self._column]]
