import json
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from pageopt.engine.decide import Answer, Decider
from pageopt.engine.requests import Page, parse_page
from pageopt.features.counters import CounterLayout
from pageopt.features.store.folding import Known
from pageopt.features.store.snapshot import UserSnapshot, write_snapshot
from pageopt.features.store.sqlite import SqliteUserStore
from pageopt.problems.item import ITEM
from pageopt.serving.app import PageApp
from pageopt.serving.served import ServedLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "served.sqlite"


@pytest.fixture
def decided(engine: Any, page: Any) -> tuple[Page, Answer]:
    decider = Decider(engine, engine.users, "7")
    content = page(user_id="u1", candidates=["m3", "m0", "new"], slots=2, features={"age": 3})
    request = parse_page(msgspec.json.encode(content), decider.limits)
    return request, decider.answer(request)[0]


@pytest.fixture
def users(tmp_path: Path) -> SqliteUserStore:
    layout = CounterLayout((24.0,), ("view",), ("shoes",))
    known = Known({}, {"i1": {"category": "shoes"}})
    write_snapshot(tmp_path / "users.sqlite", [], layout, reference_us=0, declared=(), known=known)
    return SqliteUserStore(tmp_path / "seen" / "events.sqlite", UserSnapshot(tmp_path / "users.sqlite"))


def stored(path: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM served ORDER BY rowid")]


def lost() -> float:
    return REGISTRY.get_sample_value("pageopt_served_lost_total") or 0.0


def test_a_decided_page_is_kept_with_what_it_was_chosen_from(
    path: Path, users: SqliteUserStore, decided: tuple[Page, Answer]
) -> None:
    log = ServedLog(ITEM, users, path)
    log.add(*decided)
    log.close()
    [row] = stored(path)
    assert row.pop("ts") > 1_700_000_000_000_000
    texts = {name: json.loads(row.pop(name)) for name in ("features", "candidates", "modules")}
    assert texts == {"features": {"age": 3}, "candidates": ["m3", "m0", "new"], "modules": ["m3", "m0"]}
    assert row == {
        "page_id": "p1",
        "user_id": "u1",
        "platform": "web",
        "hero_item_id": "i1",
        "policy": "trnn",
        "model_version": "7",
    }


def test_closing_writes_what_is_waiting(path: Path, users: SqliteUserStore, decided: tuple[Page, Answer]) -> None:
    log = ServedLog(ITEM, users, path)
    for _ in range(1200):
        log.add(*decided)
    log.close()
    assert len(stored(path)) == 1200


def test_a_full_queue_loses_rows_and_counts_them(
    path: Path, users: SqliteUserStore, decided: tuple[Page, Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    store = ServedLog._store

    def slow(self: ServedLog, *of: Any) -> None:
        release.wait(20)
        store(self, *of)

    monkeypatch.setattr(ServedLog, "_store", slow)
    before = lost()
    log = ServedLog(ITEM, users, path, capacity=2)
    for _ in range(20):
        log.add(*decided)
    release.set()
    log.close()
    assert lost() - before + len(stored(path)) == 20
    assert lost() > before


def test_a_disk_that_cannot_be_written_loses_rows_and_counts_them(
    path: Path, users: SqliteUserStore, decided: tuple[Page, Answer]
) -> None:
    path.parent.write_text("a file where the folder should be")
    before = lost()
    log = ServedLog(ITEM, users, path)
    log.add(*decided)
    log.close()
    assert lost() == before + 1


def test_the_application_keeps_what_it_answers(
    path: Path, users: SqliteUserStore, engine: Any, event_log: Any, talk: Any, page: Any
) -> None:
    log = ServedLog(ITEM, users, path)
    application = PageApp()
    application.attach(Decider(engine, engine.users, "7"), event_log(), log)
    assert talk("/rank_page", json.dumps(page()).encode(), app=application).status == 200
    assert talk("/rank_page", b"{}", app=application).status == 400
    log.close()
    [row] = stored(path)
    assert row["candidates"] is None


def test_a_decided_page_counts_for_the_next_one_of_its_user_once_and_without_a_file(
    users: SqliteUserStore, decided: tuple[Page, Answer]
) -> None:
    log = ServedLog(ITEM, users)
    log.add(*decided)
    log.add(*decided)
    log.close()
    now = time.time_ns() // 1000
    assert users.features("u1", "shoes", now)["user_hero_view_24h"] == pytest.approx(1, rel=1e-2)
    assert users.features("another", "shoes", now)["user_view_24h"] == 0
