"""What a click in a slot may depend on, as columns of a linear model of its log-odds: the context and the page around.

Shapes:
    n rows: a module in a slot of a page   M modules   F families   K slots   C, A categoricals of pages, of modules

    context   the module; the slot; each page categorical with the module, and with the slot
    above     the module with each one above it, at whatever place [M·M], by how far above it stands, and by its slot
              [M·M·(K − 1) each]; the family with each one above it, and with the one right above [F·F each]; how many
              above are of the same family, as a step [K] and, by family, as its logarithm [F]; how many above share
              the family, and each module categorical [1 + A]
    around    pairs and alikes of all others on the page, above and below: where these count too, pairs above are what
              counts more above
    clicks    clicks expected above, by slot [K] and over all [1]

A pair of modules is seen rarely, so that its column is held near 0 by `strength`, a pair of families less so; the few
columns that all pages share stay nearly free. Small effects of a kind are then learned from the kind, large ones of a
pair from the pair.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

from pageopt.evaluation.estimate import Floats
from pageopt.features.encoder import EncodedPages, Encoder

# Precisions of the Gaussian prior, log-odds⁻².
_CONTEXT = 3.0
_SHARED, _SHARED_PAIR = 0.3, 0.01  # of columns that all pages share, and what they have of the strength of a pair
_FAMILY = 0.3  # of a pair of families, beside one of modules
_COUNT = 0.1  # of a family's own saturation, beside a pair of modules

Columns = Iterator[tuple[str, NDArray, NDArray, NDArray | float]]
"""Block, rows, columns within the block, values."""


@dataclass(frozen=True)
class PageDesign:
    """Columns for the modules of one encoder.

    Attributes:
        family: `[M]`.
        alike: `[M, A]` codes of module categoricals; two modules are alike in a field with equal codes.
        cardinalities: `[C]`, codes of each page categorical.
        slots: K.
        around: whether modules below have a say.
    """

    family: NDArray[np.int64]
    alike: NDArray[np.int64]
    cardinalities: tuple[int, ...]
    slots: int
    around: bool

    @classmethod
    def of(cls, encoder: Encoder, *, around: bool) -> "PageDesign":
        """The columns for pages and modules that `encoder` knows."""
        return cls(
            np.asarray(encoder.module_family, dtype=np.int64),
            np.asarray(encoder.module_categorical, dtype=np.int64),
            tuple(encoder.cardinalities),
            encoder.slots,
            around,
        )

    @cached_property
    def blocks(self) -> dict[str, slice]:
        """Where the columns of each block lie."""
        M, F, K, A = len(self.family), int(self.family.max(initial=-1)) + 1, self.slots, self.alike.shape[1]
        sizes = {"module": M, "slot": K}
        sizes |= {f"context {c} module": count * M for c, count in enumerate(self.cardinalities)}
        sizes |= {f"context {c} slot": count * K for c, count in enumerate(self.cardinalities)}
        sizes |= {"above": M * M, "family above": F * F, "right above": F * F, "step": K, "saturation": F}
        sizes |= {"alike above": 1 + A}
        sizes |= {"at distance": M * M * (K - 1), "from slot": M * M * (K - 1)}
        if self.around:
            sizes |= {"around": M * M, "family around": F * F, "alike around": 1 + A}
        sizes |= {"clicks": K + 1}
        ends = list(accumulate(sizes.values()))
        return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    @property
    def columns(self) -> int:
        """Number of columns."""
        return self.blocks["clicks"].stop

    def penalty(self, strength: float) -> Floats:
        """Precision `[columns]` of the prior, `strength` that of a pair of modules."""
        shared, pair = np.full(self.columns, _CONTEXT), self.blocks
        for name in ("slot", "step", "alike above", "alike around", "clicks"):
            if name in pair:
                shared[pair[name]] = _SHARED + (0.0 if name == "slot" else _SHARED_PAIR * strength)
        for name, times in {"": 1.0, "family ": _FAMILY}.items():
            for side in ("above", "around"):
                if name + side in pair:
                    shared[pair[name + side]] = times * strength
        for name in ("at distance", "from slot"):
            shared[pair[name]] = strength
        shared[pair["right above"]] = _FAMILY * strength
        shared[pair["saturation"]] = _COUNT * strength
        return shared

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Which columns `[columns]` speak of one thing: a module, a slot, a family, a pair of modules, the page."""
        M, F, K = len(self.family), int(self.family.max(initial=-1)) + 1, self.slots
        module, slot, family, pair = np.arange(M), M + np.arange(K), M + K + np.arange(F), M + K + F + np.arange(M * M)
        group = np.full(self.columns, M + K + F + M * M)
        of = {"module": module, "slot": slot, "saturation": family, "right above": np.repeat(family, F)}
        for c, count in enumerate(self.cardinalities):
            of |= {f"context {c} module": np.tile(module, count), f"context {c} slot": np.tile(slot, count)}
        for side in ("above", "around"):
            of |= {side: pair, f"family {side}": np.repeat(family, F)}
        of |= {name: np.repeat(pair, K - 1) for name in ("at distance", "from slot")}
        for name, block in self.blocks.items():
            if name in of:
                group[block] = of[name]
        return group

    def rows(self, encoded: EncodedPages, shown: NDArray, page: NDArray, slot: NDArray) -> csr_matrix:
        """All but block "clicks" of the modules in `slot [n]` of `page [n]` of `shown [pages, slots]`.

        `encoded` are the contexts of the pages; -1 is an empty slot.
        """
        parts = [
            (self.blocks[name].start + column, row, np.broadcast_to(value, row.shape))
            for name, row, column, value in self._columns(encoded, shown, page, slot)
        ]
        column, row, value = (np.concatenate(part) for part in zip(*parts, strict=True))
        matrix = csr_matrix((value, (row, column)), shape=(len(page), self.blocks["clicks"].start), dtype=np.float64)
        matrix.sum_duplicates()
        return matrix

    def with_clicks(self, rows: csr_matrix, slot: NDArray, above: Floats) -> csr_matrix:
        """`rows` with block "clicks", the last, `[n, columns]`: `above [n]` clicks are expected above `slot [n]`."""
        count = len(slot)
        at = (np.arange(count), slot)
        by_slot = csr_matrix((above, at), shape=(count, self.slots))
        return hstack([rows, by_slot, csr_matrix(above[:, None])], format="csr")

    def _columns(self, encoded: EncodedPages, shown: NDArray, page: NDArray, slot: NDArray) -> Columns:
        every = np.arange(len(page))
        module = shown[page, slot]
        family, M, F = self.family[module], len(self.family), int(self.family.max(initial=-1)) + 1
        yield "module", every, module, 1.0
        yield "slot", every, slot, 1.0
        for c in range(len(self.cardinalities)):
            code = encoded.categorical[page, c]
            yield f"context {c} module", every, code * M + module, 1.0
            yield f"context {c} slot", every, code * self.slots + slot, 1.0
        for side in ("above", "around") if self.around else ("above",):
            alike = np.zeros((len(page), 1 + self.alike.shape[1]))
            for place in range(shown.shape[1]):
                there = shown[page, place]
                at = np.flatnonzero((there >= 0) & (place < slot if side == "above" else place != slot))
                other = there[at]
                same_family = self.family[other] == family[at]
                alike[at, 0] += same_family
                alike[at, 1:] += self.alike[other] == self.alike[module[at]]
                yield side, at, module[at] * M + other, 1.0
                pair = family[at] * F + self.family[other]
                yield f"family {side}", at, pair, 1.0
                if side == "above":
                    both, depth = module[at] * M + other, self.slots - 1
                    yield "at distance", at, both * depth + slot[at] - place - 1, 1.0
                    yield "from slot", at, both * depth + place, 1.0
                    next_to = slot[at] == place + 1
                    yield "right above", at[next_to], pair[next_to], 1.0
            for column, count in enumerate(alike.T):
                some = np.flatnonzero(count)
                yield f"alike {side}", some, np.full(len(some), column), count[some]
            if side == "above":
                count = alike[:, 0].astype(np.int64)
                yield "step", every, count, 1.0
                yield "saturation", every, family, np.log1p(count)
