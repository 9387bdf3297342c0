from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pageopt.sources.obd import find_wheel


@pytest.fixture(scope="session")
def external(pytestconfig: pytest.Config) -> Path:
    """The folder with the real wheel, downloaded once and kept in pytest's cache."""
    folder = Path(pytestconfig.cache.mkdir("external"))
    find_wheel(folder)
    return folder


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder of own logs: one page of two slots, as files of both layouts."""
    folder = tmp_path / "inbox"
    tables: dict[str, dict[str, Any]] = {
        "modules": {"module_id": [1, 2, 3], "family": ["f", "f", "g"], "algorithm": "a", "theme": "t", "recall": "r"},
        "items": {"item_id": [7], "title": "shoe", "category": "c", "price": 1.0},
        "pages": {
            "page_id": ["p0", "p1"],
            "user_id": [5, None],
            "ts": pa.array([1_700_000_000_123_456_789, 1_700_000_060_000_000_000], pa.timestamp("ns", "Asia/Tokyo")),
            "platform": pa.array(["web", "web"]).dictionary_encode(),
            "hero_item_id": [7, 7],
            "policy": ["random", "mine"],
            "candidates": pa.array([[1, 2], [3]], pa.large_list(pa.int64())),
            "weather": ["sun", "rain"],
        },
        "impressions": {"page_id": ["p0", "p0", "p1"], "slot": [1, 2, 1], "module_id": [1, 2, 3]},
        "events": {
            "event_id": pa.array(["e"], pa.large_string()),
            "ts": pa.array([1_700_000_001], pa.timestamp("s")),
            "kind": ["click"],
            "page_id": ["p0"],
            "module_id": [1],
        },
    }
    for name, columns in tables.items():
        rows = max(len(values) for values in columns.values() if not isinstance(values, str | float))
        filled = {k: [v] * rows if isinstance(v, str | float) else v for k, v in columns.items()}
        path = folder / f"{name}.parquet" if name in ("modules", "items") else folder / name / "2024.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(filled), path)
    return folder


@pytest.fixture
def edit(inbox: Path) -> Callable[[str, Callable[[pa.Table], pa.Table]], None]:
    """Change a table of the inbox."""

    def change(table: str, how: Callable[[pa.Table], pa.Table]) -> None:
        path = next(path for path in (inbox / f"{table}.parquet", inbox / table / "2024.parquet") if path.is_file())
        pq.write_table(how(pq.read_table(path)), path)

    return change
