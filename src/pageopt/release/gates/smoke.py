"""Smoke test over HTTP on the built Bento: it answers what the bundle decides in this process."""

import json
from typing import Any

import httpx
import numpy as np

from pageopt.engine.decide import Decider
from pageopt.engine.page_engine import PageEngine
from pageopt.engine.requests import parse_page
from pageopt.release.gates.simulated import SimulatedPages
from pageopt.release.gates.verdict import Check, Verdict


def bodies(pages: SimulatedPages, engine: PageEngine, rows: np.ndarray) -> list[bytes]:
    """Bodies of /rank_page for some rows of the simulated pages."""
    return [json.dumps({"page": _page(pages, engine, int(row))}).encode() for row in rows]


def _page(pages: SimulatedPages, engine: PageEngine, row: int) -> dict[str, Any]:
    def value(name: str) -> Any:
        found = pages.fields[name][row] if name in pages.fields else None
        return None if isinstance(found, float) and not np.isfinite(found) else found

    hero = {
        "item_id": value("hero_item_id") or "unknown",
        "category": value("hero_category") or "unknown",
        "title": value("hero_title"),
        "price": value("hero_price"),
    }
    features = {name: value(name) for name in engine.features if value(name) is not None}
    return {
        "page_id": value("page_id"),
        "user_id": value("user_id"),
        "platform": value("platform") or "unknown",
        "hero_item": {name: part for name, part in hero.items() if part is not None},
        "candidates": [engine.module_ids[module] for module in pages.candidates[row] if module >= 0],
        **({"features": features} if features else {}),
    }


def judge(url: str, engine: PageEngine, version: str, requests: list[bytes]) -> Verdict:
    """The verdict on the Bento at `url`: same pages as in this process, the right version, and bad input refused."""
    decider = Decider(engine, version)
    wrong: list[str] = []
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        for number, body in enumerate(requests):
            answer = client.post("/rank_page", content=body, headers={"content-type": "application/json"})
            expected, _ = decider.answer(parse_page(body, decider.limits))
            problem = _difference(answer, [shown.module_id for shown in expected.modules], version)
            if problem:
                wrong.append(f"request {number + 1}: {problem}")
        bad = client.post("/rank_page", content=b'{"page": {}}', headers={"content-type": "application/json"})
    refused = 400 <= bad.status_code < 500
    return Verdict.of(
        "smoke test",
        [
            Check(
                "answers",
                not wrong,
                len(wrong),
                0,
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
