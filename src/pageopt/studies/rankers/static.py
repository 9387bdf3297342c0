"""The static page: the same order by overall popularity for everybody."""

import numpy as np
from numpy.typing import NDArray

from pageopt.features.encoder import EncodedPages, Encoder
from pageopt.features.pages import Pages
from pageopt.models.item.heads import HEADS
from pageopt.policies.static import static_order, static_pages
from pageopt.studies.rankers.popularity import of_shown, overall_rates


class Static:
    """Modules by smoothed CTR, or the rate of another head, as most shops do (paper section 8)."""

    name = "static"

    def __init__(self, encoder: Encoder, *, objective: str = "click", prior_views: float = 200.0) -> None:
        self._family, self._slots = encoder.module_family, encoder.slots
        self._objective = HEADS.index(objective)
        self._prior_views = prior_views
        self._rates = np.zeros((len(self._family), len(HEADS)))

    def fit(self, train: Pages, valid: Pages) -> None:
        """Count."""
        self._rates = overall_rates(train, len(self._family), self._prior_views)

    def score(self, pages: Pages) -> NDArray[np.float64]:
        """The module's own rates; see `Ranker.score`."""
        return of_shown(self._rates, pages)

    def page(self, encoded: EncodedPages, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        """The most popular candidates; see `Ranker.page`."""
        return static_pages(static_order(self._rates[:, self._objective]), candidates, self._family, self._slots)
