"""The DuckDB database that prepare works in: on disk, bounded in memory, in UTC."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend


@contextmanager
def database(scratch: Path, memory_limit: str, threads: int) -> Iterator[Backend]:
    """A new database in the folder `scratch`: emptied before, since a killed run leaves its own, and removed after."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    connection = ibis.duckdb.connect(
        scratch / "prepare.duckdb",
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


def store(connection: Backend, name: str, rows: ir.Table) -> ir.Table:
    """Compute `rows` into a new table of the database, and return that."""
    connection.create_table(name, rows)
    return connection.table(name)


def append(connection: Backend, name: str, rows: ir.Table) -> None:
    """Compute `rows` and add them to a table, which is made if there is none."""
    if name in connection.list_tables():
        connection.insert(name, rows)
    else:
        connection.create_table(name, rows)


def drop(connection: Backend, name: str) -> None:
    """Remove a table."""
    # Ibis 12's own drop_table writes a statement without the name under sqlglot 30.
    connection.raw_sql(f'DROP TABLE "{name}"')
