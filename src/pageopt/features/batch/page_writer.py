"""Prepared pages to Parquet, a row group at a time: sparse rows of the database become columns a page."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pageopt.features.counters import CounterLayout
from pageopt.features.schema import LABELS

ROW_GROUP = 65_536
_GROUPS_A_PART = 8


@dataclass(frozen=True)
class PageTables:
    """What a prepared page is put together from; each has the column page, the number of the page.

    Attributes:
        kept: one row a page: identity, context and declared columns, weight, split.
        shown: slot, module, propensity.
        labels: slot, click, intent, purchase, attributed.
        counters: what pages get of their users' counters, from `page_counters`.
        candidates: lists of module_id, for the pages that keep them.
    """

    kept: ir.Table
    shown: ir.Table
    labels: ir.Table
    counters: ir.Table
    candidates: ir.Table


@dataclass(frozen=True)
class PageWriter:
    """Writes splits from `PageTables`, in page order, with row groups of fixed size; `columns` are taken as is."""

    tables: PageTables
    layout: CounterLayout
    module_ids: list[str]
    slots: int
    columns: tuple[str, ...]

    def write(self, split: str, folder: Path) -> Iterator[pa.Table]:
        """Write one split into `folder` and yield each row group when it is written."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = self.tables.kept
        pages = kept.filter(kept.split == split).select("page").order_by("page").to_pyarrow()["page"].to_numpy()
        writer: pq.ParquetWriter | None = None
        try:
            for number, start in enumerate(range(0, len(pages), ROW_GROUP)):
                group = self._group(pages[start : start + ROW_GROUP], split)
                if number % _GROUPS_A_PART == 0:
                    if writer is not None:
                        writer.close()
                    part = folder / f"part-{number // _GROUPS_A_PART:05}.parquet"
                    writer = pq.ParquetWriter(part, group.schema, compression="zstd")
                if writer is not None:
                    writer.write_table(group, row_group_size=ROW_GROUP)
                yield group
        finally:
            if writer is not None:
                writer.close()

    def _between(self, table: ir.Table, pages: np.ndarray) -> pa.Table:
        """Rows of these pages (and of others between them that were not kept)."""
        return table.filter(table.page.between(int(pages[0]), int(pages[-1]))).to_pyarrow()

    def _group(self, pages: np.ndarray, split: str) -> pa.Table:
        kept = self._between(self.tables.kept, pages).sort_by("page")
        columns: dict[str, pa.Array | pa.ChunkedArray] = {name: kept[name] for name in self.columns}
        columns |= self._counters(pages)
        columns |= self._slotted(pages)
        if split != "train":
            columns["candidates"] = self._candidates(pages)
        columns["weight"] = kept["weight"]
        return pa.table(columns)

    def _counters(self, pages: np.ndarray) -> dict[str, pa.Array]:
        rows = self._between(self.tables.counters, pages)
        place = np.searchsorted(pages, rows["page"].to_numpy())
        values = np.zeros((len(self.layout.names), len(pages)), dtype=np.float32)
        for column, name in zip(values, self.layout.names, strict=True):
            column[place] = rows[name].to_numpy()
        return dict(zip(self.layout.names, map(pa.array, values), strict=True))

    def _slotted(self, pages: np.ndarray) -> dict[str, pa.Array]:
        """List columns of K values: what each slot showed, and what came of it."""
        shape = (len(pages), self.slots)
        columns: dict[str, np.ndarray] = {
            "module": np.full(shape, -1, dtype=np.int32),
            "propensity": np.full(shape, np.nan),
            **{name: np.zeros(shape, dtype=np.float32) for name in LABELS},
        }
        for table, names in ((self.tables.shown, ("module", "propensity")), (self.tables.labels, LABELS)):
            rows = self._between(table, pages)
            page = rows["page"].to_numpy()
            place = np.searchsorted(pages, page)
            mine = pages[place] == page
            cell = (place[mine], rows["slot"].to_numpy()[mine] - 1)
            for name in names:
                columns[name][cell] = rows[name].to_numpy()[mine]
        offsets = pa.array(np.arange(len(pages) + 1) * self.slots, pa.int32())
        return {name: pa.ListArray.from_arrays(offsets, pa.array(c.ravel())) for name, c in columns.items()}

    def _candidates(self, pages: np.ndarray) -> pa.Array:
        """Lists of module index; module ids that are in no modules table are left out."""
        lists = self._between(self.tables.candidates, pages).sort_by("page")["candidates"].combine_chunks()
        index = pc.index_in(lists.flatten(), value_set=pa.array(self.module_ids, pa.string()))
        known = np.concatenate([[0], np.cumsum(index.is_valid().to_numpy(zero_copy_only=False))])
        ends = np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(lists), 0).to_numpy())])
        return pa.ListArray.from_arrays(pa.array(known[ends], pa.int32()), index.drop_null().cast(pa.int32()))
