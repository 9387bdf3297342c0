"""A small clean log as data frames, to plant bad rows in, and its check."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pageopt import contract
from pageopt.check.logs import CheckedLogs, check_logs
from pageopt.config import FeatureParams
from pageopt.problems.item import ITEM

PAGES, SLOTS = 400, 3
Log = dict[str, pd.DataFrame]


def page_id(i: int) -> str:
    return f"p{i:03d}"


@pytest.fixture
def log() -> Log:
    """400 pages of three slots, each with modules m0, m1, m2 of m0 … m5, and a click on slot 1 of every tenth page."""
    start = pd.Timestamp("2024-03-01T12:00:00Z")
    pages = [
        {
            "page_id": page_id(i),
            "user_id": f"u{i % 7}" if i % 3 else None,
            "ts": start + pd.Timedelta(minutes=i),
            "platform": "web",
            "hero_item_id": f"i{i % 4}",
            "policy": "random",
            "candidates": ["m0", "m1", "m2", "m3", "m4"],
        }
        for i in range(PAGES)
    ]
    impressions = [
        {"page_id": page_id(i), "slot": s + 1, "module_id": f"m{s}", "propensity": 0.2}
        for i in range(PAGES)
        for s in range(SLOTS)
    ]
    events = [
        {
            "event_id": f"e{i:03d}",
            "ts": start + pd.Timedelta(minutes=i, seconds=20),
            "user_id": f"u{i % 7}" if i % 3 else None,
            "kind": "click",
            "page_id": page_id(i),
            "module_id": "m0",
            "slot": 1,
            "item_id": "i1",
            "price": 3.5,
        }
        for i in range(0, PAGES, 10)
    ]
    return {
        "modules": pd.DataFrame(
            {"module_id": [f"m{i}" for i in range(6)], "family": "f", "algorithm": "a", "theme": "t", "recall": "r"}
        ),
        "items": pd.DataFrame(
            {"item_id": [f"i{i}" for i in range(4)], "title": "shoe", "category": "c", "brand": None, "price": 1.0}
        ),
        "pages": pd.DataFrame(pages),
        "impressions": pd.DataFrame(impressions),
        "events": pd.DataFrame(events),
    }


def write_log(log: Log, raw: Path) -> None:
    """Write each table as one file."""
    for name, frame in log.items():
        (raw / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), raw / name / "part-0.parquet")


@pytest.fixture
def write() -> Callable[[Log, Path], None]:
    return write_log


Check = Callable[..., CheckedLogs]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Write a log, and check it with results in tmp_path."""

    def run(log: Log | None, slots: int | None = None, features: FeatureParams | None = None) -> CheckedLogs:
        if log is not None:
            write_log(log, tmp_path / "raw")
        return check_logs(
            tmp_path / "raw",
            tmp_path / "checked",
            tmp_path / "quarantine",
            tmp_path / "scratch",
            contract.tables(features or FeatureParams()),
            ITEM.subject,
            slots,
        )

    return run


@pytest.fixture
def checked(tmp_path: Path) -> Callable[[str], pd.DataFrame]:
    return lambda table: pq.read_table(tmp_path / "checked" / table).to_pandas()


@pytest.fixture
def quarantine(tmp_path: Path) -> Callable[[str], list[tuple[str, str, dict]]]:
    """Key, reason and row of every quarantined row of a table."""

    def read(table: str) -> list[tuple[str, str, dict]]:
        folder = tmp_path / "quarantine" / table
        if not folder.is_dir():
            return []
        rows = pq.read_table(folder).to_pylist()
        return [(row["row_key"], row["reason"], json.loads(row["row"])) for row in rows]

    return read
