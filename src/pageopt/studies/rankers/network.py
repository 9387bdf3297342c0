"""Page networks: TRNN, MLP and transformer, trained and searched as the pipeline does it."""

import numpy as np
from numpy.typing import NDArray

from pageopt.config import SearchParams, TrainParams
from pageopt.errors import TrainingError
from pageopt.features.encoder import EncodedPages, Encoder
from pageopt.features.pages import Pages
from pageopt.features.slot_bias import SlotBias
from pageopt.models.item.data import page_tensors
from pageopt.models.item.fit import fit
from pageopt.models.item.network import PageNetwork
from pageopt.models.item.shown import shown_chances
from pageopt.search.graph import PageGraph, decide


class NetworkRanker:
    """The network that `params` describe, with the search that `search` describes.

    Args:
        encoder: the fields and modules of the pages.
        params: architecture, size, losses and optimiser; losses without a single positive label are left out.
        search: beam and the head by which pages are made.
        slot_bias: examination of the slots, as `page_tensors` takes it; None leaves all slots alike, and so does
            `params.slot_ips = False`.
        max_weight: largest weight that comes of it.
        single_slots: whether the logs show single slots instead of whole pages.
    """

    def __init__(
        self,
        encoder: Encoder,
        params: TrainParams,
        search: SearchParams,
        *,
        slot_bias: SlotBias | None = None,
        max_weight: float = 10.0,
        single_slots: bool = False,
    ) -> None:
        self._encoder, self._params, self._search = encoder, params, search
        self._slot_bias = slot_bias if params.slot_ips else None
        self._max_weight = max_weight
        self._single_slots = single_slots
        self._model: PageNetwork | None = None

    @property
    def model(self) -> PageNetwork:
        """The trained network, for export. Raises TrainingError before `fit`."""
        if self._model is None:
            raise TrainingError(f"{self._params.architecture} is not trained. Call fit first.")
        return self._model

    def fit(self, train: Pages, valid: Pages) -> None:
        """Train; see `pageopt.models.item.fit`."""
        fitted, watched = (
            page_tensors(pages, self._params.losses, self._slot_bias, self._max_weight) for pages in (train, valid)
        )
        self._model, _ = fit(
            self._encoder,
            self._params,
            fitted,
            watched,
            single_slots=self._single_slots,
            objective=self._search.objective,
        )

    def score(self, pages: Pages) -> NDArray[np.float64]:
        """Each module given those above it; see `Ranker.score`."""
        return shown_chances(self.model, pages.encoded, pages.module)

    def page(self, encoded: EncodedPages, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        """Beam search; see `Ranker.page`."""
        return decide(PageGraph(self.model, self._search), encoded, candidates).modules
