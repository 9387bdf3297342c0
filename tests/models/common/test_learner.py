"""The training loop serves any page problem: here one that has neither modules nor slots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pageopt.code import closure
from pageopt.config import TrainParams, load
from pageopt.models.common import training
from pageopt.models.common.learner import Learner, Ways

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Items:
    """Rows of two numbers, and whether they were clicked."""

    x: Tensor
    labels: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Tensor) -> "Items":
        labels, weights = ({n: v[rows] for n, v in part.items()} for part in (self.labels, self.weights))
        return Items(self.x[rows], labels, weights)

    def only(self, losses: Sequence[str]) -> "Items":
        return replace(self, labels={n: self.labels[n] for n in losses}, weights={n: self.weights[n] for n in losses})

    def rates(self) -> dict[str, float]:
        return {name: float(label.double().mean()) for name, label in self.labels.items()}

    def shown(self) -> float:
        return 1.0

    def digest(self) -> str:
        return str(self.x.double().sum().item())


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
    return Items(x, {"click": (torch.rand(count, generator=random) < chance).float()}, {"click": torch.ones(count)})


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
