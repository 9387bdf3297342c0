"""XGBoost, pointwise: each module alone in its slot, the baseline of the paper's tables (section 7.2).

A row is one module in one slot of one page (pageopt.models.common.tabular); the slot is a feature. A page takes slot by
slot the candidate with the highest probability there, under the family rule: what stands above is not looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xgboost
from numpy.typing import NDArray

from pageopt.errors import ConfigError, TrainingError
from pageopt.features.encoder import EncodedPages, Encoder
from pageopt.features.pages import Pages
from pageopt.features.slot_bias import SlotBias
from pageopt.models.common.tabular import TREES, TabularFeatures
from pageopt.models.item.data import page_tensors
from pageopt.models.item.heads import HEAD_OF_LOSS, HEADS, Head
from pageopt.policies.greedy import greedy_pages

_PAGES_AT_ONCE = 1000


@dataclass(frozen=True)
class TreeParams:
    """Size of the ensemble: at most `rounds` trees of `depth`, fewer where `patience` more do not help validation."""

    rounds: int = 80
    depth: int = 4
    learning_rate: float = 0.15
    patience: int = 10
    threads: int = 1
    seed: int = 1


class BoostedTrees:
    """One ensemble a loss; heads without a loss answer 0.

    Args:
        encoder: the fields and modules of the pages.
        params: size of the ensembles.
        losses: labels to learn, as for the networks ("click", "intent", "purchase" or "attributed").
        objective: the head by which pages are made.
        slot_bias: examination of the slots, as `page_tensors` takes it: rows are weighted by its inverse, at most
            `max_weight`; None leaves all slots alike.
    """

    def __init__(
        self,
        encoder: Encoder,
        params: TreeParams,
        *,
        objective: str = "purchase",
        losses: Sequence[str] = ("click", "purchase"),
        slot_bias: SlotBias | None = None,
        max_weight: float = 10.0,
    ) -> None:
        known = [HEADS[HEAD_OF_LOSS[loss]] for loss in losses]
        if objective not in known or len(set(known)) < len(known):
            raise ConfigError(
                f"BoostedTrees: losses {list(losses)} train {known}; each head once, and {objective!r} among them."
            )
        self._encoder, self._params = encoder, params
        self._losses, self._objective = tuple(losses), objective
        self._slot_bias, self._max_weight = slot_bias, max_weight
        self._features = TabularFeatures.of(encoder)
        self._boosters: dict[Head, xgboost.Booster] = {}

    def fit(self, train: Pages, valid: Pages) -> None:
        """Grow the trees. Raises TrainingError where a label is the same everywhere."""
        shown = [_Rows(self, pages) for pages in (train, valid)]
        boosters = {}
        for loss in self._losses:
            fitted, watched = (rows.labelled(loss) for rows in shown)
            rate = shown[0].rate(loss)
            if not 0 < rate < 1:
                raise TrainingError(f"BoostedTrees: every label of {loss!r} is {rate:.0f}. Leave it out of the losses.")
            boosters[HEADS[HEAD_OF_LOSS[loss]]] = xgboost.train(
                TREES
                | {
                    "max_depth": self._params.depth,
                    "eta": self._params.learning_rate,
                    "base_score": rate,
                    "nthread": self._params.threads,
                    "seed": self._params.seed,
                },
                fitted,
                self._params.rounds,
                evals=[(watched, "valid")],
                callbacks=[xgboost.callback.EarlyStopping(rounds=self._params.patience, save_best=True)],
                verbose_eval=False,
            )
        self._boosters = boosters

    def score(self, pages: Pages) -> NDArray[np.float64]:
        """Each module in its slot; see `Ranker.score`."""
        chances = np.zeros((*pages.module.shape, len(HEADS)))
        for start in range(0, len(pages), _PAGES_AT_ONCE):
            part = slice(start, start + _PAGES_AT_ONCE)
            page, slot = np.nonzero(pages.module[part] >= 0)
            rows = self._features.rows(pages.encoded.take(part), page, slot, pages.module[part][page, slot])
            for head, booster in self._boosters.items():
                chances[part][page, slot, HEADS.index(head)] = booster.inplace_predict(rows)
        return chances

    def page(self, encoded: EncodedPages, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
        """Every candidate in every slot, then slot by slot the best; see `Ranker.page`."""
        if self._objective not in self._boosters:
            raise TrainingError("BoostedTrees: there are no trees yet. Call fit before page.")
        booster, slots = self._boosters[self._objective], self._encoder.slots
        pages = np.full((len(candidates), slots), -1, dtype=np.int64)
        for start in range(0, len(candidates), _PAGES_AT_ONCE):
            part = slice(start, start + _PAGES_AT_ONCE)
            offered = candidates[part]
            page, at = np.nonzero(offered >= 0)
            chance = np.zeros((len(offered), slots, offered.shape[1]), dtype=np.float32)
            # Only the column of the slot differs between slots.
            rows = self._features.rows(encoded.take(part), page, np.zeros_like(page), offered[page, at])
            for slot in range(slots):
                rows[:, self._features.slot_column] = slot
                chance[page, slot, at] = booster.inplace_predict(rows)
            pages[part] = greedy_pages(chance, offered, self._encoder.module_family, slots)
        return pages


class _Rows:
    """The shown modules of a split as one binned matrix, whose labels and weights are set loss by loss."""

    def __init__(self, ranker: BoostedTrees, pages: Pages) -> None:
        self._tensors = page_tensors(pages, ranker._losses, ranker._slot_bias, ranker._max_weight)
        self._at = np.nonzero(pages.module >= 0)
        page, slot = self._at
        rows = ranker._features.rows(pages.encoded, page, slot, pages.module[page, slot])
        self._matrix = xgboost.DMatrix(
            rows, feature_types=ranker._features.types, enable_categorical=True, nthread=ranker._params.threads
        )

    def rate(self, loss: str) -> float:
        """Weighted mean label."""
        return self._tensors.rates()[loss]

    def labelled(self, loss: str) -> xgboost.DMatrix:
        """The matrix with labels and weights of one loss."""
        label, weight = (part[loss].numpy()[self._at] for part in (self._tensors.labels, self._tensors.weights))
        self._matrix.set_info(label=label, weight=weight)
        return self._matrix
