"""What training asks of a network and of its pages: here a page problem meets the loop, which knows no more of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

from torch import Tensor, nn

from pageopt.config import TrainParams


class Batch(Protocol):
    """Pages as tensors in memory, with labels and weights by loss of one shape; weight 0 where nothing was shown."""

    @property
    def labels(self) -> Mapping[str, Tensor]:
        """Soft labels in [0, 1]."""
        ...

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """What each label counts."""
        ...

    def __len__(self) -> int: ...

    def take(self, rows: Tensor) -> Self:
        """The pages at positions `rows`."""
        ...

    def only(self, losses: Sequence[str]) -> Self:
        """The same pages with the labels of `losses` alone."""
        ...

    def rates(self) -> dict[str, float]:
        """Weighted mean label by loss."""
        ...

    def shown(self) -> float:
        """Mean number of labels of a page that count."""
        ...

    def digest(self) -> str:
        """A hash of every value."""
        ...


class Ways(NamedTuple):
    """How a network may look at a page while it learns, by names that only it understands.

    It learns one way, or in a `share` of the steps the `other`, and the validation split chooses between the two.
    """

    one: str
    other: str | None = None
    share: float = 0.0

    def of_step(self, chance: float) -> str:
        """The way of a step that drew `chance`, uniform in [0, 1)."""
        return self.one if self.other is None or chance >= self.share else self.other


class Config(Protocol):
    """Sizes of a network; its `repr` tells it from others."""

    @property
    def losses(self) -> tuple[str, ...]:
        """What it is trained on."""
        ...


B = TypeVar("B", bound=Batch)


class Learner(nn.Module, ABC, Generic[B]):
    """A network that learns from pages of type B."""

    config: Config

    @abstractmethod
    def start_from(self, rates: Mapping[str, float]) -> None:
        """Let predictions begin at the mean label of each loss."""

    @abstractmethod
    def ways(self, params: TrainParams) -> Ways:
        """The ways in which `params` train it."""

    @abstractmethod
    def logits(self, pages: B, way: str | None = None) -> Mapping[str, Tensor]:
        """Logits by loss, float32, of the shape of its labels; the `way` is the configured one unless said."""

    @abstractmethod
    def settle(self, way: str) -> None:
        """Be the network of this way alone from now on, with the weights it has for it."""
