"""A network that does not know in which slot a module stands: the setting in which slot weights were proposed.

Every filled slot is a page of its own to it, so that it learns one chance for each module on a page, whatever the slot.
Where modules were placed by how good they are, that chance mixes what a module is with how often its slot is looked at.
Two ways to undo that, θ being the examination of a slot:

    weights  1/θ of clicked and unclicked alike (TRNN paper, section 4.5): what is learned of a module is still the mean
             of θ over its slots, now the harmonic one, times what it is, so that the mixing stays
    labels   click/θ in place of the click (Joachims, Swaminathan, Schnabel 2017): its mean is what a module is

A network that knows the slot needs neither.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pageopt.features.encoder import EncodedPages, Encoder
from pageopt.features.pages import Pages
from pageopt.features.slot_bias import Kind, SlotBias
from pageopt.models.item.data import BIAS_OF_LOSS
from pageopt.models.item.heads import HEADS, Head
from pageopt.models.item.shown import shown_chances
from pageopt.policies.greedy import greedy_pages
from pageopt.studies.rankers.network import NetworkRanker


class SlotBlind:
    """`ranker`, which must not weigh slots itself, on single slots.

    Args:
        ranker: of pages as the encoder has them.
        encoder: the families of modules and the slots of the pages that are made.
        objective: the head that modules are ordered by.
        slot_bias: of 1/θ, at most `max_weight`; None: all alike.
        on_labels: of labels, rather than of weights, which are those of clicks.
    """

    def __init__(
        self,
        ranker: NetworkRanker,
        encoder: Encoder,
        objective: Head,
        slot_bias: SlotBias | None,
        max_weight: float,
        *,
        on_labels: bool = False,
    ) -> None:
        self._ranker, self._encoder = ranker, encoder
        self._head = HEADS.index(objective)
        self._slot_bias, self._max_weight, self._on_labels = slot_bias, max_weight, on_labels

    def fit(self, train: Pages, valid: Pages) -> None:
        """Learn from single slots."""
        self._ranker.fit(self._apart(train), self._apart(valid))

    def score(self, pages: Pages) -> NDArray[np.float64]:
        """The chances of each module, whatever its slot; see `Ranker.score`."""
        return self._chances(pages.encoded, pages.module)

    def page(self, encoded: EncodedPages, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        """Modules from the best down; see `Ranker.page`."""
        worth = self._chances(encoded, candidates)[..., self._head]
        return greedy_pages(worth[:, None], candidates, self._encoder.module_family, self._encoder.slots)

    def _chances(self, encoded: EncodedPages, modules: NDArray[np.int64]) -> NDArray[np.float64]:
        chances = np.zeros((*modules.shape, len(HEADS)))
        for column in range(modules.shape[1]):
            chances[:, column] = shown_chances(self._ranker.model, encoded, modules[:, column : column + 1])[:, 0]
        return chances

    def _apart(self, pages: Pages) -> Pages:
        row, slot = np.nonzero(pages.observed)
        of_label = {name: BIAS_OF_LOSS[name] for name in ("click", "intent", "purchase", "attributed")}
        inverse = {kind: self._inverse(pages, kind)[row, slot] for kind in set(of_label.values())}
        flat = {name: getattr(pages, name)[row] for name in ("page_id", "user_id", "ts", "policy", "platform")}
        single = {name: getattr(pages, name)[row, slot][:, None] for name in ("module", "propensity", *of_label)}
        weight = pages.weight[row]
        if self._on_labels:
            single |= {name: single[name] * inverse[kind][:, None] for name, kind in of_label.items()}
        else:
            weight = weight * inverse["click"]
        return replace(
            pages,
            **flat,
            **single,
            platform_index=pages.platform_index[row],
            encoded=pages.encoded.take(row),
            weight=weight,
            candidates=None,
        )

    def _inverse(self, pages: Pages, kind: Kind) -> NDArray[np.float32]:
        """1/θ `[pages, slots]`."""
        if self._slot_bias is None:
            return np.ones(pages.module.shape, dtype=np.float32)
        return self._slot_bias.weight(pages.platform, self._max_weight, kind).astype(np.float32)
