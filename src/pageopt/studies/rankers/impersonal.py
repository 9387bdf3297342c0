"""Any ranker without personalisation: what it knows of the user is hidden from it, in training and after.

Fields of the user are made "missing": numerics 0, which is their mean or what is usual, categoricals code 0, texts
without words. The model keeps its architecture, its number of parameters and its first weights, so that a comparison
measures what the fields are worth; an encoder without them would change all three (paper section 7.3, "+ pf").
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pageopt.features.encoder import EncodedPages, Encoder
from pageopt.features.pages import Pages
from pageopt.studies.rankers.ranker import Ranker

_PERSONAL = ("user", "counter")


def without_personalisation(encoded: EncodedPages, encoder: Encoder) -> EncodedPages:
    """`encoded` with all fields of the users table and of the users' counters missing."""
    masked = {}
    for name, kind in (("categorical", "categorical"), ("numeric", "numeric"), ("tokens", "text")):
        personal = [field.source in _PERSONAL for field in encoder.page_fields if field.kind == kind]
        masked[name] = getattr(encoded, name).copy()
        masked[name][:, np.array(personal, dtype=bool)] = 0
    return EncodedPages(**masked)


class Impersonal:
    """`ranker`, whose user fields are missing wherever it looks."""

    def __init__(self, ranker: Ranker, encoder: Encoder) -> None:
        self._ranker, self._encoder = ranker, encoder

    def fit(self, train: Pages, valid: Pages) -> None:
        """Learn from pages of unknown users."""
        self._ranker.fit(self._masked(train), self._masked(valid))

    def score(self, pages: Pages) -> NDArray[np.float64]:
        """See `Ranker.score`."""
        return self._ranker.score(self._masked(pages))

    def page(self, encoded: EncodedPages, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `Ranker.page`."""
        return self._ranker.page(without_personalisation(encoded, self._encoder), candidates)

    def _masked(self, pages: Pages) -> Pages:
        return replace(pages, encoded=without_personalisation(pages.encoded, self._encoder))
