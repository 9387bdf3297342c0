"""Sizes of a page network, all that is needed to build it and load its weights."""

from dataclasses import dataclass
from typing import Literal

from pageopt.models.item.heads import HEAD_OF_LOSS, HEADS

Architecture = Literal["trnn", "mlp", "transformer"]
AboveMode = Literal["chosen", "hidden"]


@dataclass(frozen=True)
class NetworkConfig:
    """What a page network looks like.

    `architecture` names the part that knows what stands above a slot: "trnn", an LSTM over families; "mlp", nothing but
    the slot's number; "transformer", attention over the modules themselves.
    `above` says what that part may see: "chosen", the modules above; "hidden", only how many there were (for logs of
    single slots, to measure what seeing them is worth). `pairs` says that modules seen above add to the fit of those
    below, each by itself; the MLP without them sees nothing.
    `about` numerics of a page are about the module in a slot, and others for another module.
    `losses` are those that the network was trained with; heads of others answer 0. `dropout` is the share of the
    last `counters` page numerics, those that count what the user did before, dropped in training.
    """

    architecture: Architecture
    cardinalities: tuple[int, ...]
    numerics: int
    texts: int
    vocabulary: int
    module_cardinalities: tuple[int, ...]
    module_numerics: int
    module_texts: int
    title_tokens: int
    modules: int
    families: int
    slots: int
    width: int
    embedding: int
    above: AboveMode
    losses: tuple[str, ...]
    dropout: float
    counters: int = 0
    about: int = 0
    pairs: bool = True

    @property
    def chained(self) -> bool:
        """Whether intent and purchase are learned given a click; without click labels each head stands alone."""
        return "click" in self.losses

    @property
    def trained_heads(self) -> tuple[str, ...]:
        """The heads that learned from some label."""
        return tuple(head for q, head in enumerate(HEADS) if q in {HEAD_OF_LOSS[loss] for loss in self.losses})
