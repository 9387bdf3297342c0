"""What training minimises: masked cross-entropies with soft labels, and the weights learned between them.

Shapes: B pages, K slots, L losses.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from pageopt.models.common.learner import Batch


def masked_cross_entropy(logit: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """Σ weight · cross-entropy `[]`, over pages and slots, all arguments `[B, K]`.

    Labels are soft, in [0, 1]; slots that hold nothing have weight 0. The caller divides, so that sums of batches add.
    """
    return (weight * functional.binary_cross_entropy_with_logits(logit, label, reduction="none")).sum()


def loss_sums(logits: Mapping[str, Tensor], pages: Batch) -> Tensor:
    """Weighted sum `[L]` of each loss over pages, from logits by loss."""
    return torch.stack(
        [masked_cross_entropy(logits[name], label, pages.weights[name]) for name, label in pages.labels.items()]
    )


def constant_losses(pages: Batch, rates: Mapping[str, float]) -> dict[str, float]:
    """Mean weighted cross-entropy by loss of predicting `rates` everywhere."""
    means = pages.rates()
    return {n: -means[n] * math.log(rates[n]) - (1 - means[n]) * math.log1p(-rates[n]) for n in means}


class LossWeights(nn.Module):
    """One loss of several: Σ e^(−s_i) · L_i + s_i / 2 with learned s_i (Kendall, Gal, Cipolla 2018).

    Where learned, s_i starts at log(2 · L_i) of the loss that a constant prediction has, which is where it would settle
    for that loss: from s = 0 the rare label of a purchase would wait thousands of steps for its weight.
    With `learned=False` all losses weigh the same (the paper's naive weighting).
    """

    def __init__(self, constant_losses: Mapping[str, float], *, learned: bool):
        super().__init__()
        self.names = tuple(constant_losses)
        start = torch.tensor([2 * constant_losses[name] for name in self.names]).log()
        self.s = nn.Parameter(start if learned else torch.zeros_like(start), requires_grad=learned)

    def forward(self, losses: Tensor) -> Tensor:
        """The scalar `[]` to minimise of losses `[L]`."""
        return (torch.exp(-self.s) * losses + self.s / 2).sum()

    def factors(self) -> dict[str, float]:
        """e^(−s_i) of each loss, for reports."""
        return dict(zip(self.names, torch.exp(-self.s).tolist(), strict=True))
