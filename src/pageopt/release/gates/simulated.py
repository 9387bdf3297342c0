"""The fixed pool of page contexts, as engines and requests take them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pageopt.errors import ReleaseError


@dataclass(frozen=True)
class SimulatedPages:
    """P contexts: raw columns by name, each [P], and candidates [P, N] as module indices padded with -1."""

    fields: dict[str, NDArray[Any]]
    candidates: NDArray[np.int64]

    @classmethod
    def load(cls, folder: Path) -> "SimulatedPages":
        """Read pages.parquet of stage simulate-pages. Raises ReleaseError."""
        path = folder / "pages.parquet"
        if not path.is_file():
            raise ReleaseError(f"{path} is missing. Make it: dvc repro simulate-pages")
        table = pq.read_table(path)
        lists = table.column("candidates").to_pylist()
        candidates = np.full((len(lists), max(map(len, lists), default=0)), -1, dtype=np.int64)
        for row, modules in enumerate(lists):
            candidates[row, : len(modules)] = modules
        names = [name for name in table.column_names if name != "candidates"]
        return cls({name: np.array(table.column(name).to_pylist(), dtype=object) for name in names}, candidates)

    def raw(self, row: int) -> dict[str, Any]:
        """The raw columns of one page."""
        return {name: column[row] for name, column in self.fields.items()}

    def __len__(self) -> int:
        return len(self.candidates)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How many candidates each page has, [P]."""
        return (self.candidates >= 0).sum(axis=1)
