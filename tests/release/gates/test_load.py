import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pageopt.errors import ConfigError
from pageopt.release.gates.load import drive


class Server:
    """Answers every POST: 200 to bodies that start with "g", else 400; hangs up on bodies that start with "x"."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.connections = 0
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self.loop
        ).result()
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                self.bodies.append(body)
                if body.startswith(b"x"):
                    return
                status = b"200 OK" if body.startswith(b"g") else b"400 Bad Request"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_answers_are_counted_by_status_on_kept_connections(server: Server) -> None:
    result = drive(f"http://127.0.0.1:{server.port}/rank_page", [b"good", b"bad"], seconds=0.3, concurrency=3)
    assert result.requests == sum(result.statuses.values()) == len(server.bodies) > 10
    assert set(result.statuses) == {200, 400}
    assert abs(result.statuses[200] - result.statuses[400]) <= 3
    assert 0 < result.p50_ms <= result.p99_ms
    assert (result.errors, server.connections) == (0, 3)


def test_broken_connections_are_errors_and_the_load_goes_on(server: Server) -> None:
    result = drive(f"http://localhost:{server.port}/", [b"good", b"xx"], seconds=0.3, concurrency=1)
    assert result.errors >= 2
    assert result.statuses[200] >= 2


def test_nobody_listening(server: Server) -> None:
    port = server.port
    server._server.close()
    result = drive(f"http://127.0.0.1:{port}/", [b"{}"], seconds=0.1, concurrency=2)
    assert result.requests == 0
    assert result.errors > 0


@pytest.mark.parametrize(
    ("changes"),
    [
        {"url": "http://192.0.2.1/"},
        {"url": "http://example.com/"},
        {"url": "https://127.0.0.1/"},
        {"bodies": []},
        {"seconds": 0},
        {"seconds": 1e6},
        {"concurrency": 0},
        {"concurrency": 1000},
    ],
)
def test_only_bounded_load_on_this_machine(changes: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"url": "http://127.0.0.1:1/", "bodies": [b""], "seconds": 1, "concurrency": 1}
    with pytest.raises(ConfigError):
        drive(**{**settings, **changes})
