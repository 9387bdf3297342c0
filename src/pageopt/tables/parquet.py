"""Columns of a folder of Parquet parts, read one at a time when they are asked for."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pageopt.errors import ContractError


def to_numpy(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A flat Arrow column as NumPy `[rows]`.

    Numbers stay numbers, with NaN for null. Strings become objects, with None for null; equal strings share one object,
    so a column of few values costs one pointer a row.
    """
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        encoded = column.dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
            if isinstance(encoded, pa.ChunkedArray):
                encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], type=encoded.type)
        values = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
        codes = pc.fill_null(encoded.indices, len(values) - 1).to_numpy(zero_copy_only=False)
        return values[codes]
    if pa.types.is_timestamp(kind):
        return column.cast(pa.int64()).to_numpy()
    return column.to_numpy()


class ParquetColumns(Mapping[str, np.ndarray]):
    """Column name to NumPy array of a Parquet file or folder. Nothing is kept: a second look reads again.

    Raises ContractError at construction where there is no Parquet file, KeyError for a column that is not there.
    """

    def __init__(self, path: Path, names: tuple[str, ...] | None = None) -> None:
        self._files = parts(path)
        schema = pq.read_schema(self._files[0])
        self._names = tuple(schema.names) if names is None else names

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        tables = [pq.read_table(file, columns=[name], partitioning=None) for file in self._files]
        return to_numpy(pa.concat_tables(tables).column(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def parts(path: Path) -> list[Path]:
    """The Parquet files of a folder in name order, or the file itself. Raises ContractError where there is none."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise ContractError(f"No Parquet file at {path}. Run stage prepare first: dvc repro prepare")
    return files
