"""What stands above a slot: the one part in which page networks differ, in two runtimes that share weights.

Training knows the whole page, so `Above.forward` gives the output o of every slot in one pass. The search does not:
`Steps` gives, slot by slot and for every beam, what each candidate would meet there, and then goes on with the chosen
one. Both say the same: o of slot s depends on the page, on the modules above s, and on the slot.

Shapes:
    B pages   K slots   M modules   H width   N candidates   W beams   F families
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

Product = tuple[int, int, int]
"""Sizes (n, k, m) of a matrix product [n, k] · [k, m]."""
State = tuple[Tensor, ...]
"""What a `Steps` keeps between slots; only the one that made it looks into it."""


class Offered(NamedTuple):
    """The candidates of B pages: `page` `[B, 1]` numbers the pages, `module` `[B, N]`, `family` `[B, 1, N]`."""

    page: Tensor
    module: Tensor
    family: Tensor


class Chosen(NamedTuple):
    """What a beam goes on with `[B, W]`: `beam`, the row of [B·W] it comes from; its new `module` and `family`."""

    beam: Tensor
    module: Tensor
    family: Tensor


class Steps(nn.Module, ABC):
    """`Above` slot by slot, for the search; everything that depends on the weights alone is computed when it is made.

    Its operations are exported to ONNX: no branches on values, and no sizes but the number of pages and of candidates
    may vary.
    """

    @abstractmethod
    def start(self, h_x: Tensor, offered: Offered) -> State:
        """State of the one beam above slot 1, of the page encoder's h_x `[B, H]`."""

    @abstractmethod
    def look(self, state: State, offered: Offered, slot: int) -> tuple[Tensor, State]:
        """u = W_o · o for every beam and candidate in `slot`, from 1: `[B, W, N, H]`, with 1 for W or N where all are
        alike; and what `go_on` needs to know of it.
        """

    @abstractmethod
    def go_on(self, looked: State, chosen: Chosen, slot: int) -> State:
        """State below `slot`, where the beams took `chosen`."""


class Above(nn.Module, ABC):
    """What a network makes of the page and of what stands above a slot, with the weights for it."""

    @abstractmethod
    def forward(self, h_x: Tensor, module: Tensor, family: Tensor, h_m: Tensor, *, hidden: bool) -> Tensor:
        """o `[B, K, H]` of every slot of pages that are known; where `hidden`, whatever modules stand above.

        Args:
            h_x: `[B, H]` of the page encoder.
            module: `[B, K]` modules shown, -1 where a slot is empty.
            family: `[B, K]` their families, F where a slot is empty.
            h_m: `[M, H]` of the module network.
        """

    @abstractmethod
    def steps(self, from_output: Tensor, h_m: Tensor, *, hidden: bool) -> Steps:
        """The same for the search: `from_output` is W_o `[H, H]`, `h_m` `[M, H]` of the module network."""

    @abstractmethod
    def products(self, batch: int, slots: int, modules: int, *, hidden: bool) -> list[Product]:
        """The matrix products of `forward` on `batch` pages of `slots` slots among `modules`, for benchmarks."""


def rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows of a matrix `table` at `index` of any shape; one Gather in ONNX, where indexing would take several nodes."""
    return functional.embedding(index, table)
