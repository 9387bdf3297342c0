"""The training loop serves any page problem: here one that has neither modules nor slots."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pageopt.code import closure
from pageopt.config import TrainParams, load
from pageopt.models.common import training
from pageopt.models.common.learner import Batch, Learner, Ways

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, kw_only=True)
class Items(Batch):
    """Rows of two numbers, and whether they were clicked."""

    x: Tensor


@dataclass(frozen=True)
class Sizes:
    losses: tuple[str, ...] = ("click",)


class Line(Learner[Items]):
    """A line through both numbers, or through the first alone."""

    def __init__(self) -> None:
        super().__init__()
        self.config = Sizes()
        self.line = nn.Linear(2, 1)
        self.seen = torch.ones(2)

    def start_from(self, rates: Mapping[str, float]) -> None:
        nn.init.constant_(self.line.bias, torch.logit(torch.tensor(rates["click"])).item())

    def ways(self, params: TrainParams) -> Ways:
        return Ways("both", "first", 0.5)

    def logits(self, pages: Items, way: str | None = None) -> Mapping[str, Tensor]:
        seen = torch.tensor([1.0, 0.0]) if way == "first" else self.seen
        return {"click": self.line(pages.x * seen).squeeze(1)}

    def settle(self, way: str) -> None:
        if way == "first":
            self.seen = torch.tensor([1.0, 0.0])


def _items(count: int, seed: int, telling: bool) -> Items:
    """The first number says what is clicked, and where `telling` the second does too."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 2, generator=random)
    chance = torch.sigmoid(x[:, 0] + 2 * x[:, 1] * telling)
    clicked = (torch.rand(count, generator=random) < chance).float()
    return Items(x=x, labels={"click": clicked}, weights={"click": torch.ones(count)})


@pytest.mark.parametrize(("telling", "way"), [(True, "both"), (False, "first")])
def test_another_problem_learns_by_the_same_loop_and_settles_on_the_better_way(telling, way):
    params = load(ROOT / "params.yaml", TrainParams).model_copy(
        update={"epochs": 6, "patience": 6, "batch_size": 64, "learning_rate": 0.02, "averaging": 0.9, "threads": 1}
    )
    model = training.seeded(Line, 1)
    train, valid = _items(600, 1, telling), _items(4000, 2, telling)
    record = training.train(model, train, valid, params)
    assert record.best.way == way
    assert record.best.relative < 0.9
    assert training.evaluate(model, valid) == record.best.valid
    assert training.train(training.seeded(Line, 1), train, valid, params) == record


def test_the_loop_imports_nothing_of_a_page_problem():
    files = {path.as_posix() for path in closure("pageopt.models.common.training", "pageopt.models.common.tabular")}
    assert "pageopt/models/common/step.py" in files
    assert not [path for path in files if path.startswith("pageopt/models/item")]
