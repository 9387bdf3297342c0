"""The champion beside the candidate: the same pages, though the two may know other modules and other slots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageopt.engine.page_engine import PageEngine
from pageopt.errors import NotComparableError, PageoptError
from pageopt.policies.decision import Decision


@dataclass(frozen=True)
class Champion:
    """The champion's engine, speaking the candidate's module indices.

    number: its version. index: int64 [M of the candidate], the champion's index of each module, -1 where unknown to it.
    """

    number: int
    engine: PageEngine
    index: NDArray[np.int64]

    @classmethod
    def load(cls, number: int, bundle: Path, module_ids: Sequence[str]) -> "Champion":
        """Load a champion for comparison with a candidate that knows `module_ids`. Raises NotComparableError."""
        try:
            engine = PageEngine(bundle)
        except PageoptError as error:
            raise NotComparableError(f"its bundle cannot be loaded ({error})") from None
        known = {module_id: index for index, module_id in enumerate(engine.module_ids)}
        index = np.array([known.get(module_id, -1) for module_id in module_ids], dtype=np.int64)
        if (index < 0).all():
            raise NotComparableError("it knows none of the candidate's modules")
        return cls(number, engine, index)

    @property
    def known(self) -> int:
        """How many of the candidate's modules the champion knows."""
        return int((self.index >= 0).sum())

    def decide(
        self,
        fields: Mapping[str, Sequence[Any] | NDArray[Any]],
        candidates: NDArray[np.int64],
        slots: int,
        threads: int = 1,
    ) -> Decision:
        """The champion's pages of `slots` slots, in the candidate's indices.

        candidates: [P, N] in the candidate's indices, padded with -1; those that the champion does not know are left
        out. Modules and probabilities are cut or padded to `slots`: [P, slots], [P, slots, 3].
        """
        mapped = np.where(candidates >= 0, self.index[np.maximum(candidates, 0)], -1)
        decision = self.engine.rank_batch(
            fields, mapped, np.full(len(mapped), min(slots, self.engine.slots), dtype=np.int64), threads
        )
        back = np.full(len(self.engine.module_ids), -1, dtype=np.int64)
        back[self.index[self.index >= 0]] = np.flatnonzero(self.index >= 0)
        modules = np.where(decision.modules >= 0, back[np.maximum(decision.modules, 0)], -1)
        wide = max(0, slots - modules.shape[1])
        return Decision(
            np.pad(modules, ((0, 0), (0, wide)), constant_values=-1)[:, :slots],
            np.pad(decision.probabilities, ((0, 0), (0, wide), (0, 0)))[:, :slots],
            decision.score,
        )
