"""Latency and throughput of the promoted Bento over HTTP, beside the same server's answer that decides nothing."""

import statistics

import msgspec
import pyarrow.parquet as pq

from pageopt.config import ReleaseParams, load
from pageopt.engine.requests import RankPage
from pageopt.problems.item import ITEM
from pageopt.release import bento
from pageopt.release.gates.load import LoadResult, drive
from pageopt.release.registry import Registry
from pageopt.workspace import Workspace

ROUNDS = 3


def endpoint(workspace: Workspace, *, seconds: float = 3, concurrency: int = 4) -> dict:
    """Milliseconds of /rank_page on simulated pages, all modules as candidates, in turns with refused requests.

    A refused request (an empty body) passes the same server and parser and stops there: the difference is what deciding
    costs. Empty where nothing was promoted yet.
    """
    if not Registry.exists(workspace):
        return {}
    champion = Registry(workspace, load(workspace.params, ReleaseParams).model_name).champion()
    if champion is None or champion.bento is None:
        return {}
    with bento.serving(workspace, champion.bento) as url:
        rounds = [
            (drive(f"{url}/rank_page", _bodies(workspace), seconds, concurrency), _floor(url, seconds, concurrency))
            for _ in range(ROUNDS)
        ]
    decided, refused = zip(*rounds, strict=True)
    return {
        "p50_ms": statistics.median(result.p50_ms for result in decided),
        "p99_ms": statistics.median(result.p99_ms for result in decided),
        "pages_per_second": statistics.median(result.requests for result in decided) / seconds,
        "refused_p50_ms": statistics.median(result.p50_ms for result in refused),
        "refused_p99_ms": statistics.median(result.p99_ms for result in refused),
        "errors": sum(result.errors for result in decided),
        "concurrency": concurrency,
        "version": champion.number,
    }


def _floor(url: str, seconds: float, concurrency: int) -> LoadResult:
    return drive(f"{url}/rank_page", [b"{}"], seconds, concurrency)


def _bodies(workspace: Workspace) -> list[bytes]:
    rows = pq.read_table(workspace.simulated / "pages.parquet").slice(0, 500).to_pylist()
    return [msgspec.json.encode(RankPage(ITEM.request(row, ()))) for row in rows]
