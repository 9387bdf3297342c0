"""How well models predict what came of the pages that were shown: ranking metrics, and calibration of the network's."""

from collections.abc import Mapping

import numpy as np

from pageopt.config import EvaluateParams
from pageopt.evaluation.calibration import Bin, calibration
from pageopt.evaluation.estimate import Floats, UserBootstrap
from pageopt.evaluation.figures import Figure, RankedOn
from pageopt.evaluation.policy_value import Reward
from pageopt.evaluation.shown import ShownPages
from pageopt.features.pages import Pages
from pageopt.models.item.heads import HEADS
from pageopt.models.item.network import PageNetwork


def ranking(
    test: Pages, valid: Pages, label: Reward, scores: Mapping[str, tuple[Floats, Floats]], params: EvaluateParams
) -> tuple[RankedOn, dict[str, dict[str, Figure]]]:
    """Ranking metrics on the whole test split, by model. `scores` are `[pages, slots]` of test and valid pages.

    F1's threshold is that of the valid pages.
    """
    shown, tuned = ShownPages(test, label), ShownPages(valid, label)
    figures, thresholds = {}, {}
    for name, (on_test, on_valid) in scores.items():
        threshold = tuned.threshold(on_valid)
        thresholds[name] = threshold if np.isfinite(threshold) else None
        metrics = shown.metrics(on_test, threshold, params)
        figures[name] = {metric: Figure.of(estimate) for metric, estimate in metrics.items()}
    return RankedOn(label, len(test), thresholds), figures


def calibrations(
    model: PageNetwork, test: Pages, chances: Floats, params: EvaluateParams
) -> tuple[dict[str, Figure], dict[Reward, list[Bin]]]:
    """Errors "ece_click" and "ece_purchase", and curves, of `chances` on test pages, for heads that were trained."""
    shown = test.observed
    page, _ = np.nonzero(shown)
    bootstrap = UserBootstrap.of(test.user_id, params)
    errors: dict[str, Figure] = {}
    curves: dict[Reward, list[Bin]] = {}
    labels: dict[Reward, Floats] = {"click": test.click, "purchase": test.purchase}
    for head, label in labels.items():
        if head in model.config.trained_heads:
            chance = chances[..., HEADS.index(head)][shown]
            error, curves[head] = calibration(label[shown] > 0, chance, page, bootstrap)
            errors[f"ece_{head}"] = Figure.of(error)
    return errors, curves
