"""The SQLite store where it is a file among processes; what it promises as a store stands in test_store."""

import logging
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pageopt.errors import StoreError
from pageopt.features.counters import HOUR, CounterLayout
from pageopt.features.store.base import EventRow
from pageopt.features.store.snapshot import UserSnapshot, write_snapshot
from pageopt.features.store.sqlite import MAX_EVENTS, SqliteUserStore

T0 = 1_700_000_000_000_000
LAYOUT = CounterLayout((24,), ("click",), ("shoes",))
WRITER = """
import sys
from pathlib import Path
from pageopt.features.store.base import EventRow
from pageopt.features.store.snapshot import UserSnapshot
from pageopt.features.store.sqlite import SqliteUserStore
store = SqliteUserStore(Path(sys.argv[1]), UserSnapshot(Path(sys.argv[2])))
new = 0
for start in range(int(sys.argv[3]), int(sys.argv[4]), 50):
    new += store.fold(EventRow(f"e{n}", int(sys.argv[5]), "u1", "click") for n in range(start, start + 50))
print(new)
"""


@pytest.fixture
def users(tmp_path: Path) -> Path:
    write_snapshot(tmp_path / "users.sqlite", [], LAYOUT, reference_us=T0, declared=())
    return tmp_path / "users.sqlite"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "events.sqlite"


def clicks(store: SqliteUserStore) -> float:
    return store.features("u1", None, T0 + HOUR)["user_click_24h"] * 2 ** (1 / 24)


def test_processes_write_side_by_side_and_each_reads_what_the_other_wrote(path: Path, users: Path) -> None:
    """Two write the same events and some of their own, while a third reads."""
    store = SqliteUserStore(path, UserSnapshot(users))
    store.fold([EventRow("mine", T0, "u1", "click")])
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, users, *span, str(T0)], stdout=subprocess.PIPE, text=True)
        for span in (("0", "600"), ("300", "900"))
    ]
    seen = [clicks(store)]
    while any(writer.poll() is None for writer in writers):
        seen.append(clicks(store))
    new = [int(writer.communicate()[0]) for writer in writers]
    assert sum(new) == 900
    assert seen == sorted(seen)
    assert clicks(store) == pytest.approx(901)


def test_of_very_many_events_the_latest_count(path: Path, users: Path) -> None:
    store = SqliteUserStore(path, UserSnapshot(users))
    store.fold(EventRow(f"e{n:05}", T0 + (n >= 10), "u1", "click") for n in range(MAX_EVENTS + 10))
    assert clicks(store) == pytest.approx(MAX_EVENTS)


def test_a_file_of_an_endpoint_that_knew_no_store_is_read_on(path: Path, users: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "CREATE TABLE events (event_id TEXT PRIMARY KEY, ts INTEGER NOT NULL, user_id TEXT, kind TEXT NOT NULL, "
            "page_id TEXT, module_id TEXT, slot INTEGER, item_id TEXT, price REAL, received INTEGER NOT NULL)"
        )
        db.execute("INSERT INTO events VALUES ('old', ?, 'u1', 'click', NULL, NULL, NULL, NULL, NULL, 0)", (T0,))
    store = SqliteUserStore(path, UserSnapshot(users))
    assert clicks(store) == pytest.approx(1)
    assert store.fold([EventRow("old", T0, "u1", "click"), EventRow("new", T0, "u1", "click")]) == 1


def test_a_disk_that_fails_costs_the_latest_events_and_not_the_page(
    path: Path, users: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqliteUserStore(path, UserSnapshot(users))
    assert clicks(store) == 0
    assert not path.parent.exists()  # nothing is made for who only reads
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    with caplog.at_level(logging.ERROR):
        assert clicks(store) == 0
    assert f"{path} cannot be read" in caplog.text
    with pytest.raises(StoreError, match=r"events\.sqlite cannot be written"):
        store.fold([EventRow("e", T0, "u1", "click")])
    path.unlink()
    assert store.fold([EventRow("e", T0, "u1", "click")]) == 1
    assert clicks(store) == pytest.approx(1)
