"""One step of training and all that it moves; the training loop takes it, and the benchmark times it."""

import math
from collections.abc import Mapping
from typing import Generic

import torch
from torch import Tensor

from pageopt.config import TrainParams
from pageopt.errors import TrainingError
from pageopt.models.common.averaging import Average
from pageopt.models.common.learner import B, Learner
from pageopt.models.common.losses import LossWeights, constant_losses, loss_sums


class TrainingStep(Generic[B]):
    """Adam's step on the weights of `model` and, where learned, those between its losses; the running average follows.

    `pages` are those that are learned from: weights between losses start from them, and losses are means of what they
    show. Raises TrainingError for bf16 where the processor lacks it.
    """

    def __init__(self, model: Learner[B], pages: B, params: TrainParams):
        self.model, self.params = model, params
        self.shown = pages.shown()
        self.between = LossWeights(constant_losses(pages, pages.rates()), learned=params.loss_weights == "learned")
        groups: list[dict] = [{"params": [*model.parameters()], "weight_decay": params.weight_decay}]
        if self.between.s.requires_grad:
            groups.append({"params": [self.between.s], "weight_decay": 0.0})
        self.optimizer = torch.optim.Adam(groups, lr=params.learning_rate, fused=True)
        self.averaged = Average(model, params.averaging)
        if params.bf16:
            self._try_bf16(pages.take(torch.arange(1)))

    def __call__(self, batch: B, way: str) -> Tensor:
        """Learn from a batch; the sums of its losses `[L]`. Raises TrainingError where they are not numbers."""
        sums = loss_sums(self._logits(batch, way), batch)
        loss = self.between(sums / (len(batch) * self.shown))
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"The loss became {loss.item()}. Lower train.learning_rate (now {self.params.learning_rate}), "
                "turn train.bf16 off, or look for extreme feature values."
            )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.averaged.update_parameters(self.model)
        return sums.detach()

    def _logits(self, batch: B, way: str | None = None) -> Mapping[str, Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.params.bf16):
            return self.model.logits(batch, way)

    def _try_bf16(self, page: B) -> None:
        """There and back, since no list of processors says which layers they can do."""
        try:
            with torch.random.fork_rng():
                loss_sums(self._logits(page), page).sum().backward()
        except RuntimeError as error:
            raise TrainingError(
                f"This processor cannot train such a network in bf16 ({error}). Set train.bf16 to false."
            ) from error
        self.optimizer.zero_grad()

    def tensors(self) -> dict[str, Tensor]:
        """All that the next step depends on, by name."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"averaged.{name}": value for name, value in self.averaged.state_dict().items()}
        tensors["between.s"] = self.between.s.detach()
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": value for name, value in state.items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave; others among them are left alone."""
        self.model.load_state_dict(part(tensors, "model."))
        self.averaged.load_state_dict(part(tensors, "averaged."))
        with torch.no_grad():
            self.between.s.copy_(tensors["between.s"])
        adam: dict[int, dict[str, Tensor]] = {}
        for name, value in part(tensors, "adam.").items():
            index, key = name.split(".")
            adam.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": adam})


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name begins with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
