"""The user's own logs: a folder of Parquet tables in the data contract."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import UNSET, UnsetType
from rich.progress import Progress

from pageopt.contract import TABLES, Column, Table
from pageopt.errors import SourceError
from pageopt.sources.base import SourceReport

Part = tuple[Path, pq.ParquetFile]
"""A file of a table, open."""

_EVERY_MODULE = "pages has no column candidates: every module is taken to have been available on every page"
_ROWS = 65_536
_ROWS_WITH_ALL_CANDIDATES = 4_096  # each of these rows becomes as long as the list of modules


class ParquetReport(SourceReport, frozen=True, kw_only=True):
    """Pages by policy, what in the folder is no table, and where candidates come from that the log does not name."""

    folder: str
    policies: dict[str, int]
    not_read: list[str] | UnsetType = UNSET
    candidates: str | UnsetType = UNSET


@dataclass(frozen=True)
class ParquetSource:
    """Copies a folder of tables, each `<table>.parquet` or `<table>/*.parquet`, into the workspace.

    On the way identifiers become text and times UTC microseconds, whatever their unit and zone were (times without a
    zone are UTC); values that do not convert are left for stage check, which quarantines them with a reason. Columns
    that the contract does not know are kept, so that params.yaml can declare them as features.

    Pages without a column `candidates` are taken to have had every module available, which is right only for shops
    where every page can show every module; the report says so.

    The files are copied, not linked: DVC makes its files read-only, which must not reach the user's own.
    """

    folder: Path

    def collect(self, target: Path) -> ParquetReport:
        """Write the tables below `target`. Raises SourceError that names the folder, table or file at fault."""
        files = self._files()
        with ExitStack() as stack:
            opened = {
                name: [(path, stack.enter_context(_open(path))) for path in paths] for name, paths in files.items()
            }
            return _copy(self.folder, opened, target)

    def _files(self) -> dict[str, list[Path]]:
        if not self.folder.is_dir():
            raise SourceError(f"There is no folder {self.folder}. {_EXPECTED}")
        files: dict[str, list[Path]] = {}
        for name in TABLES:
            single, several = self.folder / f"{name}.parquet", sorted((self.folder / name).glob("*.parquet"))
            if single.is_file() and several:
                raise SourceError(f"Both {single} and Parquet files in {self.folder / name} exist. Keep one of them.")
            files[name] = [single] if single.is_file() else several
        missing = [name for name, table in TABLES.items() if not files[name] and not table.optional]
        if len(missing) == len([table for table in TABLES.values() if not table.optional]):
            raise SourceError(f"{self.folder} holds none of the tables. {_EXPECTED}")
        if missing:
            raise SourceError(f"{self.folder} has no table {' and no '.join(missing)}. {_EXPECTED}")
        return {name: paths for name, paths in files.items() if paths}


_EXPECTED = (
    "Own logs are a folder with these tables, each as <table>.parquet or as Parquet files in <table>/: "
    + "; ".join(
        f"{table.name}{' (optional)' if table.optional else ''} with {', '.join(table.required)}"
        for table in TABLES.values()
    )
    + ". Name the folder with: make run SOURCE=parquet DATA=folder"
)


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{file} cannot be read as Parquet: {error}. Write it again, or take it away.") from None


def _copy(folder: Path, opened: dict[str, list[Part]], target: Path) -> ParquetReport:
    modules = None if _has(opened["pages"], "candidates") else _module_ids(opened["modules"])
    rows: Counter[str] = Counter()
    policies: Counter[str] = Counter()
    times: list[datetime] = []
    with Progress(transient=True) as progress:
        for name, parts in opened.items():
            task = progress.add_task(f"Copying {name}", total=sum(file.metadata.num_rows for _, file in parts))
            (target / name).mkdir(parents=True)
            for number, part in enumerate(parts):
                to = target / name / f"part-{number:05d}.parquet"
                for batch in _copied(part, TABLES[name], to, modules if name == "pages" else None):
                    rows[name] += batch.num_rows
                    progress.advance(task, batch.num_rows)
                    if name == "pages":
                        policies.update(_policies(batch))
                        times.extend(_span(batch))
    others = sorted(path.name for path in folder.iterdir() if path.stem not in TABLES and path.name[0] != ".")
    first, last = (min(times).isoformat(), max(times).isoformat()) if times else ("", "")
    return ParquetReport(
        source="parquet",
        rows=dict(rows),
        first_ts=first,
        last_ts=last,
        folder=str(folder),
        policies=dict(policies),
        not_read=others or UNSET,
        candidates=UNSET if modules is None else _EVERY_MODULE,
    )


def _has(parts: list[Part], column: str) -> bool:
    return any(column in file.schema_arrow.names for _, file in parts)


def _module_ids(parts: list[Part]) -> list[str] | None:
    """Every module, or None where the table has no ids, which stage check will say."""
    if not all("module_id" in file.schema_arrow.names for _, file in parts):
        return None
    ids = {value for _, file in parts for value in file.read(["module_id"])["module_id"].to_pylist()}
    return sorted(str(value) for value in ids - {None})


def _copied(part: Part, table: Table, path: Path, all_candidates: list[str] | None) -> Iterator[pa.RecordBatch]:
    """Copy one file, batch by batch; gives each batch as it was written."""
    source, file = part
    columns = {column.name: column for column in table.columns}
    fields = [pa.field(f.name, _normal_type(f.type, columns.get(f.name))) for f in file.schema_arrow]
    if all_candidates is not None:
        fields.append(pa.field("candidates", columns["candidates"].arrow_type))
    schema = pa.schema(fields)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        batches = file.iter_batches(_ROWS if all_candidates is None else _ROWS_WITH_ALL_CANDIDATES)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise SourceError(f"{source} is damaged: {error}. Write it again.") from None
            if batch is None:
                return
            # a cut from nanoseconds to microseconds is the only change of a value, hence safe=False
            arrays = [array.cast(field.type, safe=False) for array, field in zip(batch.columns, schema, strict=False)]
            if all_candidates is not None:
                arrays.append(pa.array([all_candidates] * batch.num_rows, columns["candidates"].arrow_type))
            normal = pa.RecordBatch.from_arrays(arrays, schema=schema)
            writer.write_batch(normal)
            yield normal


def _normal_type(given: pa.DataType, column: Column | None) -> pa.DataType:
    """The type to write: the contract's where every value of `given` converts to it, else `given`."""
    if pa.types.is_dictionary(given):
        given = given.value_type
    if column is None:
        return given
    text = pa.types.is_integer(given) or pa.types.is_large_string(given) or pa.types.is_string_view(given)
    match column.type:
        case "string" if text:
            return column.arrow_type
        case "time" if pa.types.is_timestamp(given) or pa.types.is_date(given):
            return column.arrow_type
        case "strings" if pa.types.is_list(given) or pa.types.is_large_list(given):
            return column.arrow_type
    return column.arrow_type if pa.types.is_null(given) else given


def _policies(pages: pa.RecordBatch) -> dict[str, int]:
    if "policy" not in pages.schema.names:
        return {}
    return {str(pair["values"]): pair["counts"] for pair in pc.value_counts(pages["policy"]).to_pylist()}


def _span(pages: pa.RecordBatch) -> list[datetime]:
    """First and last time of a batch; none where the times are still to be converted."""
    if "ts" not in pages.schema.names or not pa.types.is_timestamp(pages["ts"].type):
        return []
    span = pc.min_max(pages["ts"]).as_py()
    return [value for value in span.values() if value is not None]
