import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageopt.serving.app import PageApp, create_app
from pageopt.serving.events import EventStore


@dataclass
class KnownUsers:
    """A snapshot with one user."""

    def features(self, user_id: str | None, hero_category: str | None) -> dict[str, Any]:
        return {"user_click_24h": 5.0 if user_id == "u1" else 0.0}


@dataclass
class FirstCome:
    """An engine that shows the candidates in the order they came, and remembers what it was asked."""

    slots: int = 4
    max_candidates: int = 1000
    policy: str = "trnn"
    module_ids: tuple[str, ...] = ("m0", "m1", "m2", "m3", "m4", "m5")
    families: tuple[str, ...] = ("alike", "bought", "viewed")
    module_family: np.ndarray = field(default_factory=lambda: np.array([0, 0, 0, 1, 1, 2]))
    static_page: tuple[int, ...] = (0, 1, 3, 2, 4, 5)
    features: dict[str, str] = field(
        default_factory=lambda: {"season": "categorical", "age": "numeric", "note": "text"}
    )
    users: KnownUsers = field(default_factory=KnownUsers)
    asked: list[tuple[dict[str, Any], list[int], int | None]] = field(default_factory=list)
    broken: Exception | None = None
    odds: float = 0.25

    @property
    def module_index(self) -> dict[str, int]:
        return {module_id: i for i, module_id in enumerate(self.module_ids)}

    def rank_one(self, fields: dict[str, Any], candidates: Sequence[int], slots: int | None = None) -> Any:
        self.asked.append((fields, list(candidates), slots))
        if self.broken:
            raise self.broken
        shown = list(candidates)[: slots or self.slots]
        modules = np.full((1, self.slots), -1)
        modules[0, : len(shown)] = shown
        probabilities = np.where(modules[..., None] >= 0, np.float32(self.odds), np.float32(0))
        return _Decision(modules, np.repeat(probabilities, 3, axis=2), np.array([self.odds], dtype=np.float32))


@dataclass
class _Decision:
    modules: np.ndarray
    probabilities: np.ndarray
    score: np.ndarray


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
def engine() -> FirstCome:
    return FirstCome()


@pytest.fixture
def events_file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "events.sqlite"


@pytest.fixture
def app(engine: FirstCome, events_file: Path) -> PageApp:
    return create_app(engine, "7", EventStore(events_file))


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
        return send(app, path, *parts, **how)

    return call


def _page(**changes: Any) -> dict[str, Any]:
    page: dict[str, Any] = {
        "page_id": "p1",
        "platform": "web",
        "hero_item": {"item_id": "i1", "category": "shoes", "title": "Red shoe", "price": 20.0},
    }
    page.update(changes)
    return {"page": {name: value for name, value in page.items() if value is not ...}}


@pytest.fixture
def page() -> Callable[..., dict[str, Any]]:
    """A good body of /rank_page with changes; `...` leaves a member out."""
    return _page
