"""Prepared pages as NumPy arrays, for training and evaluation."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pageopt.errors import ContractError
from pageopt.features.encoder import EncodedPages, Encoder
from pageopt.tables.parquet import ParquetColumns, parts, to_numpy

_BATCH = 65_536


@dataclass(frozen=True)
class Pages:
    """One split of prepared pages, ordered by (ts, page_id): P pages of K slots.

    Attributes:
        page_id, user_id: objects `[P]`; user_id is None for unknown users.
        ts: int64 `[P]`, microseconds since 1970 UTC.
        policy: objects `[P]`, what chose the page.
        platform: objects `[P]`, names (None where missing).
        platform_index: int64 `[P]`, the encoder's code of the platform (0 missing, 1 unknown, 2.. known).
        fields: raw columns of the encoder's page fields by name, each `[P]`, read from disk when asked for.
        encoded: the encoder's view of the same fields.
        module: int64 `[P, K]`, module index; -1 where the slot is empty or was not observed.
        propensity: float64 `[P, K]`, NaN where unknown.
        click, intent, purchase, attributed: float32 `[P, K]` labels.
        weight: float32 `[P]`, pages of the traffic that this page stands for.
        candidates: int64 `[P, N]` module indexes padded with -1; None for train, whose candidates are not kept.
    """

    page_id: np.ndarray
    user_id: np.ndarray
    ts: np.ndarray
    policy: np.ndarray
    platform: np.ndarray
    platform_index: np.ndarray
    fields: Mapping[str, np.ndarray]
    encoded: EncodedPages
    module: np.ndarray
    propensity: np.ndarray
    click: np.ndarray
    intent: np.ndarray
    purchase: np.ndarray
    attributed: np.ndarray
    weight: np.ndarray
    candidates: np.ndarray | None

    def __len__(self) -> int:
        return len(self.page_id)

    @property
    def observed(self) -> np.ndarray:
        """Bool `[P, K]`: slots that show a known module."""
        return self.module >= 0


_SLOTTED = {
    "module": np.int64,
    "propensity": np.float64,
    "click": np.float32,
    "intent": np.float32,
    "purchase": np.float32,
    "attributed": np.float32,
}
_FLAT = ("page_id", "user_id", "ts", "policy", "platform", "weight")


def load_pages(folder: Path, encoder: Encoder) -> Pages:
    """Read and encode one split (data/prepared/train, valid or test).

    Works part by part: peak memory is that of the result and one block of raw columns.

    Raises:
        ContractError: no pages there, or columns that do not fit the encoder (another run's prepared data).
    """
    files = [pq.ParquetFile(file) for file in parts(folder)]
    names = files[0].schema_arrow.names
    fields = tuple(field.name for field in encoder.page_fields)
    columns = list(dict.fromkeys((*fields, *_FLAT, *_SLOTTED)))
    if absent := sorted(set(columns) - set(names)):
        raise ContractError(f"{folder} has no columns {absent}. Data and encoder differ: run stage prepare again.")
    rows = sum(file.metadata.num_rows for file in files)
    if rows == 0:
        raise ContractError(f"{folder} holds no pages. Collect more, or change prepare.split in params.yaml.")

    slotted = {name: np.empty((rows, encoder.slots), dtype=kind) for name, kind in _SLOTTED.items()}
    encoded = _room(encoder, rows)
    kept: dict[str, list[np.ndarray]] = {name: [] for name in _FLAT}
    candidates: list[pa.ListArray] = []
    start = 0
    for batch in _batches(files, columns + ["candidates"] * ("candidates" in names)):
        part = slice(start, start + batch.num_rows)
        raw = {name: to_numpy(batch.column(name)) for name in dict.fromkeys((*fields, *_FLAT))}
        for target, source in zip(_arrays(encoded), _arrays(encoder.encode(raw)), strict=True):
            target[part] = source
        for name, array in slotted.items():
            array[part] = _square(batch.column(name), name, encoder.slots, folder)
        for name, values in kept.items():
            values.append(raw[name])
        if "candidates" in names:
            candidates.append(batch.column("candidates"))
        start = part.stop
    return Pages(
        **{name: np.concatenate(values) for name, values in kept.items()},
        **slotted,
        platform_index=encoded.categorical[:, encoder.categorical_place("platform")],
        fields=ParquetColumns(folder, fields),
        encoded=encoded,
        candidates=_padded(candidates) if candidates else None,
    )


def _batches(files: list[pq.ParquetFile], columns: list[str]) -> Iterator[pa.RecordBatch]:
    for file in files:
        yield from file.iter_batches(_BATCH, columns=columns)


def _arrays(encoded: EncodedPages) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return encoded.categorical, encoded.numeric, encoded.tokens


def _room(encoder: Encoder, rows: int) -> EncodedPages:
    """Uninitialised arrays for `rows` encoded pages."""
    none = encoder.encode({encoder.page_fields[0].name: []})
    return EncodedPages(*(np.empty((rows, *array.shape[1:]), dtype=array.dtype) for array in _arrays(none)))


def _square(column: pa.ListArray, name: str, slots: int, folder: Path) -> np.ndarray:
    """A list column of constant length as `[rows, slots]`."""
    values = column.flatten().to_numpy(zero_copy_only=False)
    if values.size != len(column) * slots:
        raise ContractError(f"Column {name} of {folder} does not hold {slots} slots a page. Run stage prepare again.")
    return values.reshape(-1, slots)


def _padded(lists: list[pa.ListArray]) -> np.ndarray:
    """Lists to int64 `[lists, longest]` padded with -1 (at least one column)."""
    lengths = np.concatenate([np.diff(column.offsets.to_numpy()) for column in lists])
    padded = np.full((len(lengths), max(1, int(lengths.max(initial=0)))), -1, dtype=np.int64)
    values = np.concatenate([column.flatten().to_numpy() for column in lists])
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = values
    return padded
