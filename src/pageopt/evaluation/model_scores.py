"""What the page model says of modules that were shown: each given those above it, as in training."""

import numpy as np
import torch
from numpy.typing import NDArray

from pageopt.evaluation.estimate import Floats
from pageopt.features.encoder import EncodedPages
from pageopt.models.heads import HEADS
from pageopt.models.network import PageNetwork

_BATCH = 4096


def shown_probabilities(model: PageNetwork, encoded: EncodedPages, module: NDArray, head: str) -> Floats:
    """Probability `[pages, slots]` by `head` ("click", "intent" or "purchase") of `module [pages, slots]` (-1: 0)."""
    found = np.zeros(module.shape)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(module), _BATCH):
            rows = slice(start, start + _BATCH)
            page = encoded.take(rows)
            shown = torch.from_numpy(module[rows])
            logits = model(*map(torch.from_numpy, (page.categorical, page.numeric, page.tokens)), shown)
            chance = torch.sigmoid(logits[..., HEADS.index(head)])
            found[rows] = torch.where(shown >= 0, chance, 0).numpy()
    return found
