"""The database that stages compute in: DuckDB on disk, bounded in memory, in UTC. What runs on it is Ibis."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend as Database


@contextmanager
def database(scratch: Path, memory_limit: str, threads: int) -> Iterator[Database]:
    """A new database in the folder `scratch`: emptied before, since a killed run leaves its own, and removed after."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    connection = ibis.duckdb.connect(
        scratch / "tables.duckdb",
        memory_limit=memory_limit,
        threads=threads,
        temp_directory=str(scratch / "spill"),
        preserve_insertion_order=False,  # what has an order is sorted where it is read; keeping others' costs memory
    )
    try:
        connection.raw_sql("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.disconnect()
        shutil.rmtree(scratch, ignore_errors=True)


def store(connection: Database, name: str, rows: ir.Table) -> ir.Table:
    """Compute `rows` into a new table of the database, and return that."""
    return connection.create_table(name, rows)


def append(connection: Database, name: str, rows: ir.Table) -> None:
    """Compute `rows` and add them to a table, which is made if there is none."""
    if name in connection.list_tables():
        connection.insert(name, rows)
    else:
        connection.create_table(name, rows)


def drop(connection: Database, name: str) -> None:
    """Remove a table."""
    # Ibis 12's own drop_table writes a statement without the name under sqlglot 30.
    connection.raw_sql(f'DROP TABLE "{name}"')


def numbered(connection: Database, name: str, files: Sequence[Path], row: str) -> ir.Table:
    """The rows of Parquet files whose columns may differ, and in column `row` the number of the file and row in it."""
    if name not in connection.list_tables():
        listed = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
        connection.raw_sql(
            f"CREATE VIEW {name} AS SELECT *, (file_index::BIGINT << 40) + file_row_number AS {row} "
            f"FROM read_parquet([{listed}], union_by_name = true)"
        )
    return connection.table(name)


def write(connection: Database, rows: ir.Table, folder: Path) -> None:
    """Compute `rows` into a Parquet file in `folder`, which is made."""
    folder.mkdir(parents=True)
    connection.to_parquet(rows, folder / "part-0.parquet", compression="zstd", row_group_size=100_000)


@ibis.udf.scalar.builtin(name="hash")
def hashed(value: dt.string) -> dt.uint64:
    """64 bits that stand for a text where the text itself would take too much memory."""


@ibis.udf.scalar.builtin(name="list_unique")
def distinct(values: dt.Array[dt.UInt64]) -> dt.int64:
    """How many different values a list has."""
