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

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pageopt.evaluation.estimate import Floats
from pageopt.evaluation.page_matrix import PageMatrix
from pageopt.features.encoder import EncodedPages, Encoder

# Precisions of the Gaussian prior, log-odds⁻².
_CONTEXT = 3.0
_SHARED, _SHARED_PAIR = 0.3, 0.01  # of columns that all pages share, and what they have of the strength of a pair
_FAMILY = 0.3  # of a pair of families, beside one of modules
_COUNT = 0.1  # of a family's own saturation, beside a pair of modules

Columns = Iterator[tuple[str, NDArray, NDArray, NDArray | float]]
"""Block, which cells, columns within the block, values."""
Cells = Iterator[tuple[NDArray, tuple[NDArray, Callable[[NDArray], Columns]]]]
"""Rows, a number that says which cell each is in, and the columns of cells by that number."""


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

    def rows(self, encoded: EncodedPages, shown: NDArray, page: NDArray, slot: NDArray) -> PageMatrix:
        """The modules in `slot [n]` of `page [n]` of `shown [pages, slots]`, without clicks above them.

        `encoded` are the contexts of the pages; -1 is an empty slot.
        """
        held, said, count = [], [], 0
        for row, (key, of_key) in self._cells(encoded, shown, page, slot):
            keys, cell = np.unique(key, return_inverse=True)
            held.append((row, count + cell))
            for name, at, column, value in of_key(keys):
                said.append((count + at, self.blocks[name].start + column, np.broadcast_to(value, at.shape)))
            count += len(keys)
        row, cell = (np.concatenate(part) for part in zip(*held, strict=True))
        cells = csr_matrix((np.ones(len(row)), (row, cell)), (len(page), count))
        at, column, value = (np.concatenate(part) for part in zip(*said, strict=True))
        columns = csr_matrix((value, (at, column)), (count, self.blocks["clicks"].start), dtype=np.float64)
        return PageMatrix(cells, columns, slot, np.zeros(len(slot)), self.slots)

    def _cells(self, encoded: EncodedPages, shown: NDArray, page: NDArray, slot: NDArray) -> Cells:
        every, module = np.arange(len(page)), shown[page, slot]
        family, M, K = self.family[module], len(self.family), self.slots
        yield every, _keyed((M, K), (module, slot), self._of_module)
        for c, count in enumerate(self.cardinalities):
            of_context = partial(self._of_context, c)
            yield every, _keyed((count, M, K), (encoded.categorical[page, c], module, slot), of_context)
        there = shown[page]
        standing = (there >= 0) & (np.arange(there.shape[1]) != slot[:, None])
        if not self.around:
            standing &= np.arange(there.shape[1]) < slot[:, None]
        at, place = np.nonzero(standing)
        other = there[at, place]
        yield at, _keyed((M, M, K, K), (module[at], other, slot[at], place), self._of_pair)
        alike = at[(self.family[other] == family[at]) & (place < slot[at])]
        yield every, _keyed((M, K), (family, np.bincount(alike, minlength=len(page))), self._of_saturation)

    def _of_module(self, module: NDArray, slot: NDArray) -> Columns:
        every = np.arange(len(module))
        yield "module", every, module, 1.0
        yield "slot", every, slot, 1.0

    def _of_context(self, c: int, code: NDArray, module: NDArray, slot: NDArray) -> Columns:
        every = np.arange(len(code))
        yield f"context {c} module", every, code * len(self.family) + module, 1.0
        yield f"context {c} slot", every, code * self.slots + slot, 1.0

    def _of_pair(self, module: NDArray, other: NDArray, slot: NDArray, place: NDArray) -> Columns:
        """`other` stands in slot `place`."""
        M, F, depth = len(self.family), int(self.family.max(initial=-1)) + 1, self.slots - 1
        both, families = module * M + other, self.family[module] * F + self.family[other]
        alike = np.column_stack([self.family[module] == self.family[other], self.alike[module] == self.alike[other]])
        above, every = np.flatnonzero(place < slot), np.arange(len(module))
        for side, at in (("above", above), ("around", every)) if self.around else (("above", above),):
            yield side, at, both[at], 1.0
            yield f"family {side}", at, families[at], 1.0
            pair, column = np.nonzero(alike[at])
            yield f"alike {side}", at[pair], column, 1.0
        yield "at distance", above, (both * depth + slot - place - 1)[above], 1.0
        yield "from slot", above, (both * depth + place)[above], 1.0
        next_to = np.flatnonzero(slot == place + 1)
        yield "right above", next_to, families[next_to], 1.0

    def _of_saturation(self, family: NDArray, count: NDArray) -> Columns:
        """`count` modules of the `family` stand above."""
        some = np.flatnonzero(count)
        yield "step", np.arange(len(count)), count, 1.0
        yield "saturation", some, family[some], np.log1p(count[some])


def _keyed(
    sizes: tuple[int, ...], indices: tuple[NDArray, ...], columns: Callable[..., Columns]
) -> tuple[NDArray[np.int64], Callable[[NDArray], Columns]]:
    """One number for `indices`, each below its size, and the columns of such numbers."""
    return np.ravel_multi_index(indices, sizes), lambda keys: columns(*np.unravel_index(keys, sizes))
