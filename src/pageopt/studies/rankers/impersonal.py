"""Any ranker without personalisation: what it knows of the user is hidden from it, in training and after.

As a control it may be shown the user fields of somebody else, in training and after: then they are as rich, and say
nothing of who is there.

Fields of the user are made "missing": numerics 0, which is their mean or what is usual, categoricals code 0, texts
without words. The model keeps its architecture, its number of parameters and its first weights, so that a comparison
measures what the fields are worth; an encoder without them would change all three (paper section 7.3, "+ pf").
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pageopt.features.encoder import EncodedPages, Encoder
from pageopt.features.pages import Pages
from pageopt.studies.rankers.ranker import Ranker

_PERSONAL = ("user", "counter")
_SEED = 1


def without_personalisation(encoded: EncodedPages, encoder: Encoder) -> EncodedPages:
    """`encoded` with all fields of the users table and of the users' counters missing."""
    return _personal_replaced(encoded, encoder, np.zeros_like)


def of_strangers(encoded: EncodedPages, encoder: Encoder) -> EncodedPages:
    """`encoded` with those fields, all together, of another page each; the same for the same number of pages."""
    other = np.random.default_rng(_SEED).permutation(len(encoded.categorical))
    return _personal_replaced(encoded, encoder, lambda columns: columns[other])


def _personal_replaced(encoded: EncodedPages, encoder: Encoder, put: Callable[[NDArray], NDArray]) -> EncodedPages:
    replaced = {}
    for name, kind in (("categorical", "categorical"), ("numeric", "numeric"), ("tokens", "text")):
        personal = np.array([field.source in _PERSONAL for field in encoder.page_fields if field.kind == kind], bool)
        replaced[name] = getattr(encoded, name).copy()
        replaced[name][:, personal] = put(replaced[name][:, personal])
    return EncodedPages(**replaced)


class Impersonal:
    """`ranker`, which sees what `hide` leaves of pages wherever it looks."""

    def __init__(
        self,
        ranker: Ranker,
        encoder: Encoder,
        hide: Callable[[EncodedPages, Encoder], EncodedPages] = without_personalisation,
    ) -> None:
        self._ranker, self._encoder, self._hide = ranker, encoder, hide

    def fit(self, train: Pages, valid: Pages) -> None:
        """Learn from pages of unknown users."""
        self._ranker.fit(self._hidden(train), self._hidden(valid))

    def score(self, pages: Pages) -> NDArray[np.float64]:
        """See `Ranker.score`."""
        return self._ranker.score(self._hidden(pages))

    def page(self, encoded: EncodedPages, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `Ranker.page`."""
        return self._ranker.page(self._hide(encoded, self._encoder), candidates)

    def _hidden(self, pages: Pages) -> Pages:
        return replace(pages, encoded=self._hide(pages.encoded, self._encoder))
