"""What a page-aware reward model reads of the modules above a slot: plain columns beside those of `TabularFeatures`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from pageopt.features.encoder import Encoder


@dataclass(frozen=True)
class AboveFeatures:
    """Rows of a module and the modules above it. It keeps the tables of modules it was made from.

    Attributes:
        family: `[modules]`.
        alike: `[modules, fields]` codes of module categoricals; two modules are alike in a field with equal codes.
    """

    family: NDArray[np.int64]
    alike: NDArray[np.int64]

    @classmethod
    def of(cls, encoder: Encoder) -> "AboveFeatures":
        """The features of modules that `encoder` knows."""
        return cls(
            np.asarray(encoder.module_family, dtype=np.int64), np.asarray(encoder.module_categorical, dtype=np.int64)
        )

    @property
    def types(self) -> list[str]:
        """XGBoost's type of each column of a row."""
        return ["c", "c", "q", "q", "q", *["q"] * self.alike.shape[1]]

    def rows(self, shown: NDArray, page: NDArray, slot: NDArray, module: NDArray) -> NDArray[np.float32]:
        """Rows `[rows, columns]` of `module [rows]` in `slot [rows]`, from 0, below what `shown [pages, slots]` has.

        Columns: the module right above (0 none, else its index + 1) and its family likewise; how many modules above are
        known, how many are of the same family, and how far above the nearest of these is (0 none); for each module
        categorical, how many above have the same value.
        """
        slots = shown.shape[1]
        above = np.where(np.arange(slots) < slot[:, None], shown[page], -1)  # [rows, slots]
        known = above >= 0
        at = np.maximum(above, 0)
        same_family = known & (self.family[at] == self.family[module][:, None])
        nearest = np.where(same_family, slot[:, None] - np.arange(slots), slots + 1).min(axis=1)
        right_above = np.where(slot > 0, shown[page, np.maximum(slot - 1, 0)], -1)
        columns = [
            right_above + 1,
            np.where(right_above >= 0, self.family[np.maximum(right_above, 0)] + 1, 0),
            known.sum(axis=1),
            same_family.sum(axis=1),
            np.where(nearest > slots, 0, nearest),
            *((known & (codes[at] == codes[module][:, None])).sum(axis=1) for codes in self.alike.T),
        ]
        return np.stack(columns, axis=1).astype(np.float32)

    def save(self, file: Path) -> None:
        """Write as safetensors."""
        save_file({name: np.ascontiguousarray(value) for name, value in vars(self).items()}, file)

    @classmethod
    def load(cls, file: Path) -> "AboveFeatures":
        """Read what `save` wrote."""
        return cls(**load_file(file))
