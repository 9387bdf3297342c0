"""The running average of a network's weights over the steps of its training, which is the network that is kept.

Single steps follow the chance of their batch, and a search for the best page picks what chance made look good; the mean
of many steps does so less (Polyak and Juditsky 1992). This is our addition to the paper.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

M = TypeVar("M", bound=nn.Module)
_SHARE = 9  # the average spans the last 1/9 of all steps, until that is longer than the decay allows


class Average(AveragedModel, Generic[M]):
    """A copy of a network that each step moves by 1 - decay towards it, early steps more; with decay 0 all the way."""

    def __init__(self, model: M, decay: float):
        def towards(average: Sequence[Tensor], now: Sequence[Tensor], steps: Tensor | int) -> None:
            weight = max(1 - decay, _SHARE / (_SHARE + 1 + float(steps)))
            torch._foreach_lerp_(list(average), list(now), weight)

        super().__init__(model, multi_avg_fn=towards)

    @property
    def model(self) -> M:
        """The averaged network."""
        return cast(M, self.module)
