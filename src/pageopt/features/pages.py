"""Prepared pages as NumPy arrays, for training and evaluation."""

from collections.abc import Mapping
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
_FLAT = ("page_id", "user_id", "ts", "policy", "weight")


def load_pages(folder: Path, encoder: Encoder) -> Pages:
    """Read and encode one split (data/prepared/train, valid or test).

    Works part by part: peak memory is that of the result and one block of raw columns.

    Raises:
        ContractError: no pages there, or columns that do not fit the encoder (another run's prepared data).
    """
    files = [pq.ParquetFile(file) for file in parts(folder)]
    rows = sum(file.metadata.num_rows for file in files)
    names = files[0].schema_arrow.names
    fields = tuple(field.name for field in encoder.page_fields)
    absent = sorted({*fields, *_FLAT, *_SLOTTED} - set(names))
    if absent:
        raise ContractError(f"{folder} has no columns {absent}. Data and encoder differ: run stage prepare again.")
    if rows == 0:
        raise ContractError(f"{folder} holds no pages. Collect more, or change prepare.split in params.yaml.")

    slots = encoder.slots
    slotted = {name: np.empty((rows, slots), dtype=kind) for name, kind in _SLOTTED.items()}
    flat: dict[str, list[np.ndarray]] = {name: [] for name in (*_FLAT, "platform")}
    encoded: EncodedPages | None = None
    lists: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    columns = list(dict.fromkeys([*fields, "platform", *_FLAT, *_SLOTTED]))
    with_candidates = "candidates" in names
    start = 0
    for file in files:
        for batch in file.iter_batches(_BATCH, columns=columns + ["candidates"] * with_candidates):
            stop = start + batch.num_rows
            raw = {name: to_numpy(batch.column(name)) for name in dict.fromkeys([*fields, "platform"])}
            part = encoder.encode(raw)
            if encoded is None:
                encoded = _room(part, rows)
            for target, source in zip(_arrays(encoded), _arrays(part), strict=True):
                target[start:stop] = source
            for name, array in slotted.items():
                array[start:stop] = _square(batch.column(name), name, slots, folder)
            for name in _FLAT:
                flat[name].append(to_numpy(batch.column(name)))
            flat["platform"].append(raw["platform"])
            if with_candidates:
                column = batch.column("candidates")
                lists.append(column.flatten().to_numpy().astype(np.int64))
                lengths.append(np.diff(column.offsets.to_numpy()))
            start = stop
    if encoded is None:
        raise ContractError(f"{folder} holds no pages. Run stage prepare again.")
    return Pages(
        **{name: np.concatenate(arrays) for name, arrays in flat.items()},
        **slotted,
        platform_index=encoded.categorical[:, encoder.categorical_place("platform")],
        fields=ParquetColumns(folder, fields),
        encoded=encoded,
        candidates=_padded(np.concatenate(lists), np.concatenate(lengths)) if with_candidates else None,
    )


def _arrays(encoded: EncodedPages) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return encoded.categorical, encoded.numeric, encoded.tokens


def _room(like: EncodedPages, rows: int) -> EncodedPages:
    """Uninitialised arrays of `rows` pages with the widths of `like`."""
    return EncodedPages(*(np.empty((rows, *array.shape[1:]), dtype=array.dtype) for array in _arrays(like)))


def _square(column: pa.ListArray, name: str, slots: int, folder: Path) -> np.ndarray:
    """A list column of constant length as `[rows, slots]`."""
    values = column.flatten().to_numpy(zero_copy_only=False)
    if values.size != len(column) * slots:
        raise ContractError(f"Column {name} of {folder} does not hold {slots} slots a page. Run stage prepare again.")
    return values.reshape(-1, slots)


def _padded(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Lists end to end, and their lengths, to int64 `[lists, longest]` padded with -1 (at least one column)."""
    padded = np.full((len(lengths), max(1, int(lengths.max(initial=0)))), -1, dtype=np.int64)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = values
    return padded
