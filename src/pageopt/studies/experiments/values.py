"""True values of pages one by one, in memory and as Parquet: paired differences and A/B tests are made of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

_REWARDS = ("click", "purchase")


@dataclass(frozen=True)
class PageValues:
    """True probabilities of a click and of a purchase, `[pages, slots]` each."""

    click: NDArray[np.float64]
    purchase: NDArray[np.float64]

    @property
    def ctr(self) -> NDArray[np.float64]:
        """Expected modules clicked, `[pages]`."""
        return self.click.sum(axis=1)

    @property
    def ptr(self) -> NDArray[np.float64]:
        """Expected modules bought from, `[pages]`."""
        return self.purchase.sum(axis=1)


@dataclass(frozen=True)
class Visits:
    """Pages that several policies decided: `page_id`, `user_id` (None: anonymous) and `ts` `[pages]`, and by policy
    what its pages earn.
    """

    page_id: NDArray
    user_id: NDArray
    ts: NDArray[np.int64]
    values: Mapping[str, PageValues]


def write_values(file: Path, page_id: NDArray, user_id: NDArray, ts: NDArray, values: Mapping[str, PageValues]) -> None:
    """One row a page: page_id, user_id, ts, and for each policy of `values` lists `…_click` and `…_purchase`."""
    columns: dict[str, pa.Array] = {
        "page_id": pa.array(page_id, pa.string()),
        "user_id": pa.array(user_id, pa.string(), from_pandas=True),
        "ts": pa.array(ts, pa.int64()),
    }
    for name, of in ((f"{name}_{each}", getattr(value, each)) for name, value in values.items() for each in _REWARDS):
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(of.astype(np.float32).reshape(-1)), of.shape[1])
    pq.write_table(pa.table(columns), file, compression="zstd")


def read_values(file: Path) -> Visits:
    """What `write_values` wrote."""
    table = pq.read_table(file)
    names = [name.removesuffix("_click") for name in table.column_names if name.endswith("_click")]

    def square(name: str) -> NDArray[np.float64]:
        column = table[name].combine_chunks()
        return column.flatten().to_numpy().astype(np.float64).reshape(len(table), -1)

    return Visits(
        page_id=table["page_id"].to_numpy(),
        user_id=table["user_id"].to_numpy(),
        ts=table["ts"].to_numpy(),
        values={name: PageValues(square(f"{name}_click"), square(f"{name}_purchase")) for name in names},
    )
