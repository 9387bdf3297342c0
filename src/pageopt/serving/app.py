"""The endpoint over HTTP: a plain ASGI application, since a framework's routing would cost as much as the decision.

Decisions run on two threads: the graph lets go of the interpreter, so that one page is decided while the next is
encoded, and the event loop stays free to read bodies and answer health checks. Measured at four connections and 200
candidates: 13 ms against 15 ms in the event loop and 23 ms on one thread, at the same processor time a page.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from pageopt.engine.decide import Decider
from pageopt.engine.requests import Limits, parse_page
from pageopt.errors import RequestError, StoreError
from pageopt.serving import metrics
from pageopt.serving.events import EventLog, parse_events
from pageopt.serving.operations import OPERATIONS
from pageopt.serving.refusal import refusal
from pageopt.serving.served import ServedLog

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_IN_FLIGHT = 256
BODY_SECONDS = 10.0
_log = logging.getLogger(__name__)


class _HungUpError(Exception):
    """The caller hung up before the body was there; nobody waits for an answer."""


class PageApp:
    """ASGI application with POST to the paths of OPERATIONS; everything else is 404 or 405.

    It can be made before its model is loaded (BentoML imports it long before): call `attach` before the first request.
    """

    def __init__(self) -> None:
        self._decider: Decider | None = None
        self._events: EventLog | None = None
        self._served: ServedLog | None = None
        self._in_flight = 0
        self._handlers = {"/rank_page": self._rank_page, "/record_events": self._record_events}
        self._rankers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="rank")
        # One thread: SQLite takes one writer at a time, and order of arrival is kept.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="events")

    def attach(self, decider: Decider, events: EventLog, served: ServedLog | None = None) -> None:
        """Answer as `decider` does, give events to `events` and decided pages to `served`."""
        self._decider = decider
        self._events = events
        self._served = served

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request; other kinds of connection, such as WebSockets, are closed."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return
        path = scope["path"]
        self._in_flight += 1
        status, headers = 200, []
        try:
            answer = await self._answer(path, scope, receive)
        except RequestError as error:
            status, answer = error.status, msgspec.json.encode(refusal(error))
            if status == 405:
                headers = [(b"allow", b"POST")]
            metrics.REFUSED.labels(path if path in OPERATIONS else "other", str(status)).inc()
        except _HungUpError:
            return
        finally:
            self._in_flight -= 1
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _answer(self, path: str, scope: MutableMapping[str, Any], receive: Receive) -> bytes:
        if path not in OPERATIONS:
            raise RequestError(f"There is nothing at {path[:100]}.", field="", fix="POST to /rank_page.", status=404)
        if scope["method"] != "POST":
            raise RequestError(f"{path} takes POST, not {scope['method']}.", field="", fix="Send a POST.", status=405)
        if self._in_flight > MAX_IN_FLIGHT:
            raise RequestError("Too many requests at once.", field="", fix="Try again in a moment.", status=429)
        return await self._handlers[path](await _body(scope, receive, OPERATIONS[path].max_bytes))

    @property
    def limits(self) -> Limits | None:
        """What the model takes that is loaded; None before it is."""
        return self._decider.limits if self._decider else None

    async def _rank_page(self, body: bytes) -> bytes:
        if self._decider is None:
            raise _not_ready()
        started = time.perf_counter()
        page = parse_page(body, self._decider.limits)
        answer, reason = await asyncio.get_running_loop().run_in_executor(self._rankers, self._decider.answer, page)
        encoded = msgspec.json.encode(answer)
        if self._served is not None:
            self._served.add(page, answer)
        metrics.DECISION_SECONDS.observe(time.perf_counter() - started)
        metrics.DECISIONS.labels(answer.policy, answer.model_version).inc()
        if reason:
            metrics.DEGRADED.labels(reason).inc()
        return encoded

    async def _record_events(self, body: bytes) -> bytes:
        if self._events is None:
            raise _not_ready()
        batch = parse_events(body, now=time.time())
        try:
            receipt = await asyncio.get_running_loop().run_in_executor(self._writer, self._events.add, batch)
        except StoreError as error:
            _log.error("%s", error)
            raise RequestError(
                "The events could not be stored.", field="", fix="Send the same events again later.", status=503
            ) from None
        for outcome, count in receipt.counts().items():
            metrics.EVENTS.labels(outcome).inc(count)
        return msgspec.json.encode(receipt)


def _not_ready() -> RequestError:
    return RequestError("No model is loaded yet.", field="", fix="Wait until /readyz answers 200.", status=503)


async def _body(scope: MutableMapping[str, Any], receive: Receive, limit: int) -> bytes:
    """The whole body, read no further than `limit`. Raises RequestError with 413 or 408, and _HungUpError."""
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    with contextlib.suppress(ValueError):
        if int(declared) > limit:
            raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _HungUpError
                part = message.get("body", b"")
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise RequestError(
            f"The body did not arrive within {BODY_SECONDS:.0f} seconds.", field="", fix="Send it whole.", status=408
        ) from None


def _too_large(limit: int) -> RequestError:
    return RequestError(
        f"The body is larger than {limit // 1024} KiB.", field="", fix="Send less in one request.", status=413
    )
