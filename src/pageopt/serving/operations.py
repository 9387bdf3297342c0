"""What can be asked of the endpoint: a path, the structs of its bodies, and an example of each."""

from dataclasses import dataclass
from typing import Any

import msgspec

from pageopt.engine.requests import MAX_PAGE_BYTES, RankPage
from pageopt.problems.item import Answer, Shown
from pageopt.serving.events import MAX_EVENTS_BYTES, Receipt, RecordEvents


@dataclass(frozen=True)
class Operation:
    """A path that takes POST: the struct of its body, the most bytes it may have, an example of body and answer."""

    summary: str
    asks: type[msgspec.Struct]
    max_bytes: int
    request: dict[str, Any]
    answer: msgspec.Struct


OPERATIONS = {
    "/rank_page": Operation(
        "Which modules a page shows, top to bottom",
        RankPage,
        MAX_PAGE_BYTES,
        {
            "page": {
                "user_id": "u0006854",
                "platform": "app",
                "hero_item": {"item_id": "i000001", "category": "camera", "title": "Flash case", "price": 30.72},
                "slots": 1,
            }
        },
        Answer(
            page_id="9f0c2b1d5c7e4c3f8a6b1e2d3c4b5a69",
            modules=[Shown(1, "m017", "similar", 0.061, 0.012, 0.004, 1.0)],
            page_score=0.004,
            policy="trnn",
            model_version="3",
            degraded=False,
        ),
    ),
    "/record_events": Operation(
        "Take what happened on pages; a row that breaks the contract is set aside with its reason",
        RecordEvents,
        MAX_EVENTS_BYTES,
        {
            "events": [
                {
                    "event_id": "e1",
                    "ts": "2026-01-02T03:04:05Z",
                    "kind": "click",
                    "page_id": "9f0c2b1d5c7e4c3f8a6b1e2d3c4b5a69",
                    "module_id": "m017",
                    "slot": 1,
                },
            ]
        },
        Receipt(accepted=1, duplicates=0, quarantined=[]),
    ),
}
