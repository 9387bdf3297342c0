"""Smoke test over HTTP on the built Bento: it answers what the bundle decides in this process."""

from collections.abc import Iterable

import httpx
import msgspec
import numpy as np

from pageopt.engine.decide import Decider
from pageopt.engine.page_engine import PageEngine
from pageopt.engine.requests import RankPage, parse_page
from pageopt.release.gates.simulated import SimulatedPages
from pageopt.release.gates.verdict import Check, Verdict


def bodies(pages: SimulatedPages, engine: PageEngine, rows: Iterable[int] | np.ndarray) -> list[bytes]:
    """Bodies of /rank_page for some rows of the simulated pages."""
    declared = engine.problem.declared(engine.page_fields)

    def body(row: int) -> bytes:
        offered = [engine.module_ids[module] for module in pages.candidates[row] if module >= 0]
        page = msgspec.structs.replace(engine.problem.request(pages.raw(row), declared), candidates=offered)
        return msgspec.json.encode(RankPage(page))

    return [body(int(row)) for row in rows]


def judge(url: str, decider: Decider, requests: list[bytes]) -> Verdict:
    """The verdict on the Bento at `url`: pages and version as of `decider` in this process, and bad input refused."""
    wrong: list[str] = []
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        for number, body in enumerate(requests):
            answer = client.post("/rank_page", content=body, headers={"content-type": "application/json"})
            expected, _ = decider.answer(parse_page(body, decider.limits))
            problem = _difference(answer, [shown.module_id for shown in expected.modules], decider.version)
            if problem:
                wrong.append(f"request {number + 1}: {problem}")
        bad = client.post("/rank_page", content=b'{"page": {}}', headers={"content-type": "application/json"})
    refused = 400 <= bad.status_code < 500
    return Verdict.of(
        "smoke test",
        [
            Check.none_of(
                "answers",
                len(wrong),
                f"{len(wrong)} of {len(requests)} answers of the Bento are wrong" + (f": {wrong[0]}" if wrong else ""),
            ),
            Check("bad input", refused, bad.status_code, None, f"a page without fields is answered {bad.status_code}"),
        ],
    )


def _difference(answer: httpx.Response, expected: list[str], version: str) -> str | None:
    if answer.status_code != 200:
        return f"status {answer.status_code}, {answer.text[:300]}"
    content = answer.json()
    if content["model_version"] != version:
        return f"it serves version {content['model_version']}, not {version}"
    if content["degraded"]:
        return "it is degraded"
    shown = [module["module_id"] for module in content["modules"]]
    return None if shown == expected else f"it shows {shown}, the bundle in this process {expected}"
