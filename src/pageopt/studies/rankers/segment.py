"""Popularity by segment: another order for each category that a page is about."""

import numpy as np
from numpy.typing import NDArray

from pageopt.features.encoder import EncodedPages, Encoder
from pageopt.features.pages import Pages
from pageopt.models.item.heads import HEADS
from pageopt.policies.greedy import greedy_pages
from pageopt.problems.item import ITEM
from pageopt.studies.rankers.popularity import of_shown, overall_rates, segment_rates


class SegmentPopularity:
    """Modules by their rate on pages of the same hero category, pulled toward their overall rate where views are few.

    `objective` is the head by which pages are made: "click" ranks by CTR, "purchase" by PTR.
    """

    name = "segment"

    def __init__(self, encoder: Encoder, *, objective: str = "click", prior_views: float = 200.0) -> None:
        self._family, self._slots = encoder.module_family, encoder.slots
        self._column = encoder.categorical_place(ITEM.category)
        self._objective = HEADS.index(objective)
        self._prior_views = prior_views
        self._rates = np.zeros((encoder.cardinalities[self._column], len(self._family), len(HEADS)))

    def fit(self, train: Pages, valid: Pages) -> None:
        """Count by segment."""
        overall = overall_rates(train, len(self._family), self._prior_views)
        segment = self._segment(train.encoded)
        self._rates = segment_rates(train, segment, len(self._rates), overall, self._prior_views)

    def score(self, pages: Pages) -> NDArray[np.float64]:
        """The module's rates in the page's segment; see `Ranker.score`."""
        return of_shown(self._rates[self._segment(pages.encoded)], pages)

    def page(self, encoded: EncodedPages, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        """The candidates most popular in the segment; see `Ranker.page`."""
        rate = self._rates[self._segment(encoded)[:, None], np.maximum(candidates, 0), self._objective]
        return greedy_pages(rate[:, None], candidates, self._family, self._slots)

    def _segment(self, encoded: EncodedPages) -> NDArray[np.int64]:
        return encoded.categorical[:, self._column]
