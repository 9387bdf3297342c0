"""What a page network answers: logits of click, intent and purchase, and how the three hang together.

Intent and purchase are chained to the click, since neither happens without one (the entire-space model of Ma et al.
2018), so that the rare heads learn only what clicks do not tell:

    P(purchase) = P(click) · P(purchase | click) = σ(evidence_click) · σ(evidence_purchase)

This is our addition to the paper, which gives each signal a head of its own (section 5.1).
"""

from typing import Literal

import torch
from torch import Tensor

Head = Literal["click", "intent", "purchase"]
HEADS: tuple[Head, ...] = ("click", "intent", "purchase")
# Which head a loss trains: the attributed purchase is a softer label of the same question.
HEAD_OF_LOSS = {"click": 0, "intent": 1, "purchase": 2, "attributed": 2}
# Where a head has no label to learn from, its logit stays here, and its probability reads as 0.
UNTRAINED_LOGIT = -30.0
# Where every click was also bought, the chance of it given a click starts here, not at infinite evidence.
MOST_GIVEN_CLICK = 0.99


def chain(evidence: Tensor) -> Tensor:
    """Logits of click, intent and purchase `[…, Q]` of evidence `[…, Q]`: that of the click, and of both given one.

    The logit of σ(a)·σ(b) is −log(e^−a + e^−b + e^(−a−b)), which keeps the digits of small probabilities.
    """
    a, b = evidence[..., :1], evidence[..., 1:]
    least = torch.minimum(torch.minimum(a, b), a + b)
    total = torch.exp(least - a) + torch.exp(least - b) + torch.exp(least - a - b)
    return torch.cat([a, least - torch.log(total)], -1)
