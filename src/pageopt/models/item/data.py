"""Pages as the tensors of a training: inputs, labels, and one weight for each slot shown.

Shapes: P pages, K slots, C page categoricals, D page numerics, X page texts, T tokens a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from pageopt.errors import TrainingError
from pageopt.models.common.learner import Batch

if TYPE_CHECKING:
    from pageopt.features.pages import Pages
    from pageopt.features.slot_bias import SlotBias

# Purchases fade with depth by another law than clicks (TRNN paper, section 4.3).
BIAS_OF_LOSS: dict[str, Literal["click", "purchase"]] = {
    "click": "click",
    "intent": "click",
    "purchase": "purchase",
    "attributed": "purchase",
}


@dataclass(frozen=True, kw_only=True)
class PageTensors(Batch):
    """P pages for training or validation.

    categorical `[P, C]` and tokens `[P, X, T]` int32, numeric `[P, D]` float32, module `[P, K]` int32 with -1 where a
    slot was empty; labels and weights by loss, float32 `[P, K]`, weight 0 where a slot was empty.
    """

    categorical: Tensor
    numeric: Tensor
    tokens: Tensor
    module: Tensor

    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Arguments of `PageNetwork.forward`."""
        return self.categorical.long(), self.numeric, self.tokens.long(), self.module.long()


def page_tensors(
    pages: "Pages",
    losses: Sequence[str],
    slot_bias: "SlotBias | None",
    max_weight: float,
) -> PageTensors:
    """Tensors of loaded pages for `losses`.

    A slot weighs the page's weight (which undoes down-sampling) times its IPS weight, scaled so that the mean weight of
    filled slots is 1. The weight multiplies the loss of clicked and unclicked slots alike, as in the paper: it makes
    the deep, rarely examined slots count, while the estimate stays the chance of a click in that very slot.
    Without `slot_bias` all slots weigh the same. Raises TrainingError where no page has a filled slot.
    """
    shown = pages.module >= 0
    if not shown.any():
        raise TrainingError(
            f"None of {len(pages)} prepared pages shows a module, so there is nothing to learn from. "
            "See reports/check.json for what was quarantined, and prepare.split for the shares."
        )
    by_bias = {}
    for kind in sorted({BIAS_OF_LOSS[loss] for loss in losses}):
        weight = pages.weight.astype(np.float32)[:, None] * shown
        if slot_bias is not None:
            weight = weight * slot_bias.weight(pages.platform, max_weight, kind)
        by_bias[kind] = torch.from_numpy((weight / (weight.sum(dtype=np.float64) / shown.sum())).astype(np.float32))
    return PageTensors(
        categorical=torch.from_numpy(pages.encoded.categorical.astype(np.int32)),
        numeric=torch.from_numpy(np.ascontiguousarray(pages.encoded.numeric, dtype=np.float32)),
        tokens=torch.from_numpy(pages.encoded.tokens.astype(np.int32)),
        module=torch.from_numpy(pages.module.astype(np.int32)),
        labels={n: torch.from_numpy(np.ascontiguousarray(getattr(pages, n), dtype=np.float32)) for n in losses},
        weights={loss: by_bias[BIAS_OF_LOSS[loss]] for loss in losses},
    )
