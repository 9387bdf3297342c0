"""The random page: what exploration shows, and the least that a model must beat."""

import numpy as np
from numpy.typing import NDArray

from pageopt.features.encoder import EncodedPages, Encoder
from pageopt.features.pages import Pages
from pageopt.models.item.heads import HEADS
from pageopt.policies.greedy import greedy_pages
from pageopt.studies.rankers.popularity import of_shown, overall_rates


class Shuffled:
    """Candidates in random order under the family rule; the page at position i depends on the seed and i alone."""

    name = "random"

    def __init__(self, encoder: Encoder, *, seed: int) -> None:
        self._family, self._slots = encoder.module_family, encoder.slots
        self._seed = seed
        self._rates = np.zeros((len(self._family), len(HEADS)))

    def fit(self, train: Pages, valid: Pages) -> None:
        """Learn the mean rates of modules, the same for each."""
        self._rates[:] = overall_rates(train, len(self._family), 1.0).mean(axis=0)

    def score(self, pages: Pages) -> NDArray[np.float64]:
        """The mean rates; see `Ranker.score`."""
        return of_shown(self._rates, pages)

    def page(self, encoded: EncodedPages, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        """A new order for each page; see `Ranker.page`."""
        chance = np.random.default_rng(self._seed).random(candidates.shape)
        return greedy_pages(chance[:, None], candidates, self._family, self._slots)
