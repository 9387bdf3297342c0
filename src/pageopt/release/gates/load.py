"""Load on an endpoint of this machine, for the latency gate and the benchmark.

A bare HTTP/1.1 client on keep-alive connections: a client library takes longer for a request than the endpoint does,
and would be what is measured. Each connection sends its next request when the answer to the last is there.
"""

import asyncio
import ipaddress
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from pageopt.errors import ConfigError

MAX_SECONDS = 300.0
MAX_CONCURRENCY = 64
_PATIENCE = 30.0
_MAX_ANSWER = 4 * 1024 * 1024


@dataclass(frozen=True)
class LoadResult:
    """What came of a load.

    requests: answers received, whatever their status; errors: connections that broke or timed out.
    p50_ms, p99_ms: milliseconds from the request sent to its whole answer; NaN where there was none.
    statuses: answers by HTTP status.
    """

    requests: int
    errors: int
    p50_ms: float
    p99_ms: float
    statuses: dict[int, int] = field(default_factory=dict)


def drive(url: str, bodies: Sequence[bytes], seconds: float, concurrency: int) -> LoadResult:
    """POST `bodies` in turn to `url` for `seconds` on `concurrency` connections; ends at most 30 s later.

    Runs its own event loop: not to be called from a coroutine. Raises ConfigError unless `url` is http on this machine
    and the load is bounded: at most 300 seconds and 64 connections.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not _is_loopback(parts.hostname or ""):
        raise ConfigError(f"{url} is not an http address of this machine, and load is put on no other.")
    if not 0 < seconds <= MAX_SECONDS or not 1 <= concurrency <= MAX_CONCURRENCY or not bodies:
        raise ConfigError(
            f"A load takes 0 to {MAX_SECONDS:.0f} seconds, 1 to {MAX_CONCURRENCY} connections and at least one body, "
            f"not {seconds} seconds, {concurrency} connections and {len(bodies)} bodies."
        )
    target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    head = f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\nContent-Length: "
    requests = [head.encode() + str(len(body)).encode() + b"\r\n\r\n" + body for body in bodies]
    run = _Run(parts.hostname or "", parts.port or 80, requests, time.perf_counter() + seconds)
    asyncio.run(run.all(concurrency))
    times = np.array(run.times) * 1000
    p50, p99 = np.percentile(times, [50, 99]).tolist() if len(times) else (float("nan"), float("nan"))
    return LoadResult(len(times), run.errors, p50, p99, dict(sorted(run.statuses.items())))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Run:
    """One load: its connections share the queue of requests and the tallies."""

    def __init__(self, host: str, port: int, requests: list[bytes], end: float) -> None:
        self._host, self._port, self._requests, self._end = host, port, requests, end
        self._next = 0
        self.times: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.errors = 0

    async def all(self, concurrency: int) -> None:
        await asyncio.gather(*(self._one_connection() for _ in range(concurrency)))

    async def _one_connection(self) -> None:
        while time.perf_counter() < self._end:
            try:
                async with asyncio.timeout(_PATIENCE):
                    reader, writer = await asyncio.open_connection(self._host, self._port)
                try:
                    await self._talk(reader, writer)
                finally:
                    writer.close()
            except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                self.errors += 1
                await asyncio.sleep(0.05)  # a server that is down must not be hammered

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests on one connection until the time is up or the server closes it."""
        while time.perf_counter() < self._end:
            request = self._requests[self._next % len(self._requests)]
            self._next += 1
            started = time.perf_counter()
            async with asyncio.timeout(_PATIENCE):
                writer.write(request)
                status, keep = await _answer(reader)
            self.times.append(time.perf_counter() - started)
            self.statuses[status] += 1
            if not keep:
                return


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read one whole answer: its status, and whether the connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    status = int(head[0].split(b" ", 2)[1])
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head[1:])}
    length = int(headers.get(b"content-length", b"-1"))
    if not 0 <= length <= _MAX_ANSWER:
        raise ValueError(f"an answer without a usable length: {length}")
    await reader.readexactly(length)
    return status, headers.get(b"connection", b"").lower() != b"close"
