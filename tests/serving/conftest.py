"""The application without a server: talk ASGI to it."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pageopt.engine.decide import Decider
from pageopt.features.counters import CounterLayout
from pageopt.features.store.snapshot import UserSnapshot, write_snapshot
from pageopt.features.store.sqlite import SqliteUserStore
from pageopt.serving.app import PageApp
from pageopt.serving.events import EventLog


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        def refuse(literal: str) -> None:
            raise AssertionError(f"{literal} in an answer")

        return json.loads(self.text, parse_constant=refuse)


def send(
    app: PageApp,
    path: str,
    *parts: bytes,
    method: str = "POST",
    headers: Sequence[tuple[bytes, bytes]] = (),
    pulled: list[int] | None = None,
) -> Response | None:
    """Talk ASGI to `app`: the body arrives in `parts`; None if it did not answer. `pulled` gets the parts it read."""
    sent: list[Any] = []
    left = list(parts) or [b""]
    pulled = [] if pulled is None else pulled

    async def receive() -> dict[str, Any]:
        if not left:
            return {"type": "http.disconnect"}
        pulled.append(len(left[0]))
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def reply(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "method": method, "headers": list(headers)}
    asyncio.run(app(scope, receive, reply))
    if not sent:
        return None
    answer = b"".join(message.get("body", b"") for message in sent[1:])
    replied = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    assert int(replied["content-length"]) == len(answer)
    return Response(sent[0]["status"], replied, answer.decode())


@pytest.fixture
def events_file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "events.sqlite"


@pytest.fixture
def event_log(events_file: Path, tmp_path: Path) -> Callable[[], EventLog]:
    """What one worker has to write events with."""
    layout = CounterLayout(
        (24.0,), ("click",), ("shoes",), lifts={"family": {"alike": 0.1}}, lift_half_lives_hours=(24,)
    )
    write_snapshot(tmp_path / "users.sqlite", [], layout, reference_us=0, declared=())
    users = UserSnapshot(tmp_path / "users.sqlite")
    return lambda: EventLog(SqliteUserStore(events_file, users), events_file)


@pytest.fixture
def app(engine: Any, event_log: Callable[[], EventLog]) -> PageApp:
    application = PageApp()
    application.attach(Decider(engine, engine.users, "7"), event_log())
    return application


@pytest.fixture
def post(app: PageApp) -> Callable[..., Response]:
    """POST a value as JSON, or bytes as they are."""

    def call(path: str, content: Any) -> Response:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        response = send(app, path, body)
        assert response is not None
        return response

    return call


@pytest.fixture
def talk(app: PageApp) -> Callable[..., Response | None]:
    """Talk ASGI to the app; see `send`."""

    def call(path: str, *parts: bytes, **how: Any) -> Response | None:
        return send(how.pop("app", app), path, *parts, **how)

    return call
