"""What the endpoint showed: counted for its users, and kept for logs of pages and impressions where a file is named.

Rows go through a bounded queue to a thread: a slow disk costs rows, which are counted, and never a visitor's
time.
"""

import logging
import queue
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import msgspec

from pageopt.errors import StoreError
from pageopt.features.store.base import PageRow, UserStore
from pageopt.problems.base import Problem
from pageopt.problems.item import Answer, Page
from pageopt.serving import metrics

CAPACITY = 10_000
_BATCH = 500
_PAUSE_SECONDS = 0.2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS served (
    page_id TEXT NOT NULL, ts INTEGER NOT NULL, user_id TEXT, {logged},
    features TEXT, candidates TEXT, policy TEXT NOT NULL, model_version TEXT NOT NULL, modules TEXT NOT NULL
)
"""
_log = logging.getLogger(__name__)

_Row = tuple[int, Page, Answer]


class ServedLog:
    """Has `users` see the decided pages of `problem`, and appends them to the table `served` of a SQLite file.

    Without a `path` they are only seen. A page counts as shown when it was decided. In the table, ts is microseconds
    since 1970. features, candidates and modules are JSON; candidates is null where the request left them out and every
    module of the model stood for choice; modules are ids, top to bottom, each of propensity 1.
    """

    def __init__(self, problem: Problem, users: UserStore, path: Path | None = None, capacity: int = CAPACITY) -> None:
        self.path = path
        self._problem, self._users = problem, users
        self._schema = _SCHEMA.format(logged=", ".join(f"{name} TEXT NOT NULL" for name in problem.logged))
        self._rows: queue.Queue[_Row | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._write, name="served", daemon=True)
        self._thread.start()

    def add(self, page: Page, answer: Answer) -> None:
        """Keep a decided page for writing, or count it as lost where the queue is full. Does not wait."""
        try:
            self._rows.put_nowait((time.time_ns() // 1000, page, answer))
        except queue.Full:
            metrics.SERVED_LOST.inc()

    def close(self) -> None:
        """Write what is waiting, then end; waits at most 10 seconds."""
        try:
            self._rows.put(None, timeout=5)
        except queue.Full:
            return
        self._thread.join(timeout=5)

    def _write(self) -> None:
        ended = False
        while not ended:
            rows = [self._rows.get()]
            time.sleep(_PAUSE_SECONDS if rows[0] is not None and self._rows.empty() else 0)
            while len(rows) < _BATCH and not self._rows.empty():
                rows.append(self._rows.get())
            ended = None in rows
            decided = [row for row in rows if row is not None]
            try:
                self._users.see(self._seen(*row) for row in decided)
                if self.path is not None:
                    self._store(self.path, [self._columns(*row) for row in decided])
            except (sqlite3.Error, OSError, StoreError) as error:
                metrics.SERVED_LOST.inc(len(decided))
                _log.error("%d served pages could not be written: %s", len(decided), error)

    def _seen(self, ts: int, page: Page, answer: Answer) -> PageRow:
        item_id = self._problem.raw(page)[self._problem.subject.named]
        return PageRow(answer.page_id, ts, page.user_id, item_id, tuple(shown.module_id for shown in answer.modules))

    def _store(self, path: Path, rows: list[tuple[object, ...]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=5.0)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            with db:
                db.execute(self._schema)
                for row in rows:
                    db.execute(f"INSERT INTO served VALUES ({', '.join('?' * len(row))})", row)

    def _columns(self, ts: int, page: Page, answer: Answer) -> tuple[object, ...]:
        def text(value: object) -> str | None:
            return None if value is None else msgspec.json.encode(value).decode()

        said = self._problem.raw(page)
        return (
            answer.page_id,
            ts,
            page.user_id,
            *(said[name] for name in self._problem.logged),
            text(page.features),
            text(page.candidates),
            answer.policy,
            answer.model_version,
            text([shown.module_id for shown in answer.modules]),
        )
