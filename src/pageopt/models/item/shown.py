"""What a page network says of modules that were shown: each given those above it, as in training."""

import numpy as np
import torch
from numpy.typing import NDArray

from pageopt.features.encoder import EncodedPages
from pageopt.models.item.heads import HEADS
from pageopt.models.item.network import PageNetwork

_BATCH = 4096


def shown_chances(model: PageNetwork, encoded: EncodedPages, module: NDArray[np.int64]) -> NDArray[np.float64]:
    """P(click), P(intent), P(purchase) `[pages, slots, 3]` of `module [pages, slots]`; 0 where it is -1."""
    chances = np.zeros((*module.shape, len(HEADS)))
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(module), _BATCH):
            rows = slice(start, start + _BATCH)
            page = encoded.take(rows)
            shown = torch.from_numpy(module[rows])
            logits = model(*map(torch.from_numpy, (page.categorical, page.numeric, page.tokens)), shown)
            chances[rows] = torch.where((shown >= 0).unsqueeze(-1), torch.sigmoid(logits), 0).numpy()
    return chances
