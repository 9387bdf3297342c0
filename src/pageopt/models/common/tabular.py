"""One module in one slot of one page as plain columns, for models that look at rows: gradient-boosted trees."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from pageopt.features.encoder import EncodedPages, Encoder

# Trees over such rows; min_child_weight in units of p(1 − p): a leaf needs some 100 impressions at 5 % clicks, so that
# thin logs get few splits, no wild ones.
TREES = {"objective": "binary:logistic", "tree_method": "hist", "max_bin": 64, "min_child_weight": 5.0}


@dataclass(frozen=True)
class TabularFeatures:
    """Turns encoded pages, and modules in their slots, into rows. It keeps the tables of modules it was made from.

    What a user did is kept for each family of modules, and so on: many columns, of which a row takes only those about
    its module. That is what bears on its click, and makes the matrix several times narrower.

    Attributes:
        page_categoricals: number of encoded page categoricals; they come first in a row.
        page_numerics: `[columns]` encoded numerics taken as they are.
        module_columns: `[modules, columns]` encoded numerics about each module, -1 where there is none.
        module_family: `[modules]`; module_categorical: `[modules, fields]`; module_numeric: `[modules, fields]`.
    """

    page_categoricals: int
    page_numerics: NDArray[np.int64]
    module_columns: NDArray[np.int64]
    module_family: NDArray[np.int64]
    module_categorical: NDArray[np.int64]
    module_numeric: NDArray[np.float32]

    @classmethod
    def of(cls, encoder: Encoder) -> "TabularFeatures":
        """The features of pages and modules that `encoder` knows."""
        numeric = [field for field in encoder.page_fields if field.kind == "numeric"]
        return cls(
            page_categoricals=len(encoder.cardinalities),
            page_numerics=np.flatnonzero([not field.by for field in numeric]),
            module_columns=np.asarray(encoder.module_columns, dtype=np.int64),
            module_family=np.asarray(encoder.module_family, dtype=np.int64),
            module_categorical=np.asarray(encoder.module_categorical, dtype=np.int64),
            module_numeric=np.asarray(encoder.module_numeric, dtype=np.float32),
        )

    @property
    def types(self) -> list[str]:
        """XGBoost's type of each column of a row: "c" categorical, "q" quantitative."""
        return ["c"] * (self.page_categoricals + 2 + self.module_categorical.shape[1]) + ["q"] * (
            1 + len(self.page_numerics) + self.module_numeric.shape[1] + self.module_columns.shape[1]
        )

    @property
    def slot_column(self) -> int:
        """Where a row holds its slot, from 0."""
        return self.page_categoricals + 2 + self.module_categorical.shape[1]

    def rows(self, encoded: EncodedPages, page: NDArray, slot: NDArray, module: NDArray) -> NDArray[np.float32]:
        """Rows `[rows, columns]` of `module [rows]` in `slot [rows]`, from 0, of `page [rows]`, an index of `encoded`.

        Categoricals come as their codes: page fields, module index, family, module fields; then slot and numerics.
        """
        family, about = self.module_family[module], self.module_columns[module]
        out = np.empty((len(page), len(self.types)), dtype=np.float32)
        parts = (
            encoded.categorical[page],
            module[:, None],
            family[:, None],
            self.module_categorical[module],
            slot[:, None],
            encoded.numeric[page[:, None], self.page_numerics],
            self.module_numeric[module],
            np.where(about < 0, 0, encoded.numeric[page[:, None], about]),
        )
        start = 0
        for part in parts:
            out[:, start : start + part.shape[1]] = part
            start += part.shape[1]
        return out

    def save(self, file: Path) -> None:
        """Write as safetensors."""
        arrays = {
            name: np.ascontiguousarray(value) for name, value in vars(self).items() if name != "page_categoricals"
        }
        save_file({**arrays, "page_categoricals": np.array([self.page_categoricals])}, file)

    @classmethod
    def load(cls, file: Path) -> "TabularFeatures":
        """Read what `save` wrote."""
        arrays = load_file(file)
        return cls(page_categoricals=int(arrays.pop("page_categoricals")[0]), **arrays)
