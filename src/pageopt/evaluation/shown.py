"""How well scores rank what was shown: the ranking metrics of the paper (TRNN, section 7.1)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pageopt.config import EvaluateParams
from pageopt.evaluation.classification import auc, best_threshold, f1
from pageopt.evaluation.estimate import Estimate, Floats, UserBootstrap
from pageopt.evaluation.ranking import page_ndcg, page_reciprocal_rank
from pageopt.features.pages import Pages

Label = Literal["click", "purchase"]
# Each resample of AUC is a pass over all impressions; 200 place the ends of a 95 % interval well enough.
_AUC_REPLICATES = 200


@dataclass(frozen=True)
class ShownPages:
    """Labels of shown modules, ready to score any number of models. `label` names the kind; users are the units."""

    pages: Pages
    label: Label

    def metrics(self, score: Floats, threshold: float, params: EvaluateParams) -> dict[str, Estimate]:
        """AUC, F1, NDCG and MRPR of `score [pages, slots]`, those that the labels define.

        F1 is of "score ≥ threshold" on pages with any engagement, as in the paper. NDCG and MRPR are of pages with a
        positive label and something to rank; a log of single slots has none.
        """
        shown = self.pages.observed
        labels = self._labels
        metrics: dict[str, Estimate] = {}
        if not labels[shown].any() or labels[shown].all():
            return metrics

        def bootstrap(rows: NDArray, most: int) -> UserBootstrap:
            fewer = params.model_copy(update={"bootstrap": min(params.bootstrap, most)})
            return UserBootstrap.of(self.pages.user_id[rows], fewer)

        everything = np.ones(len(shown), dtype=bool)
        page, _ = np.nonzero(shown)
        metrics["auc"] = auc(labels[shown], score[shown], page, bootstrap(everything, _AUC_REPLICATES))
        engaged = self._engaged
        page, _ = np.nonzero(shown[engaged])
        on_engaged = labels[engaged][shown[engaged]], score[engaged][shown[engaged]]
        metrics["f1"] = f1(*on_engaged, threshold, page, bootstrap(engaged, params.bootstrap))
        positive: NDArray[np.bool_] = labels.any(axis=1) & (shown.sum(axis=1) > 1)
        if not positive.any():
            return metrics
        masked = np.where(shown, score, np.nan)[positive]
        resamples = bootstrap(positive, params.bootstrap)
        metrics["ndcg"] = resamples.mean(page_ndcg(labels[positive], masked))
        metrics["mrpr"] = resamples.mean(page_reciprocal_rank(labels[positive], masked))
        return metrics

    def threshold(self, score: Floats) -> float:
        """The threshold of `score [pages, slots]` with the best F1 on these pages; use it on others."""
        engaged = self._engaged
        shown = self.pages.observed[engaged]
        return best_threshold(self._labels[engaged][shown], score[engaged][shown])

    @property
    def _labels(self) -> NDArray[np.bool_]:
        labels: NDArray[np.bool_] = (self.pages.purchase if self.label == "purchase" else self.pages.click) > 0
        return labels

    @property
    def _engaged(self) -> NDArray[np.bool_]:
        pages = self.pages
        engaged: NDArray[np.bool_] = np.any((pages.click > 0) | (pages.intent > 0) | (pages.purchase > 0), axis=1)
        return engaged
