"""The DuckDB database in which logs are checked: bounded in memory, spilling to disk, in UTC."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import ibis
import ibis.expr.datatypes as dt
from ibis.backends.duckdb import Backend

MEMORY = "2GB"
THREADS = 2


@ibis.udf.scalar.builtin(name="hash")
def hashed(value: dt.string) -> dt.uint64:
    """64 bits that stand for a text where the text itself would take too much memory."""


@ibis.udf.scalar.builtin(name="list_unique")
def distinct(values: dt.Array[dt.UInt64]) -> dt.int64:
    """How many different values a list has."""


@contextmanager
def database(scratch: Path) -> Iterator[Backend]:
    """A database on disk below `scratch`, gone at the end."""
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch, prefix="check-") as folder:
        connection = ibis.duckdb.connect(
            Path(folder) / "check.duckdb",
            memory_limit=MEMORY,
            threads=THREADS,
            temp_directory=str(Path(folder) / "spill"),
            preserve_insertion_order=False,  # what has an order is sorted when it is written; others cost memory
        )
        try:
            connection.raw_sql("SET TimeZone = 'UTC'")
            yield connection
        finally:
            connection.disconnect()
