"""Guards against features that know the future: recompute some pages by brute force and compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa

from pageopt.errors import ContractError
from pageopt.features.batch.logs import Logs
from pageopt.features.batch.user_events import UserEvents
from pageopt.features.counters import CounterLayout, Happened, UserState, page_counters

SAMPLE = 200  # pages whose features are recomputed by brute force
_NOTHING = 1e-9  # what has faded so far is no knowledge, and rounding is as large where shares and lifts are near 0


@dataclass(frozen=True)
class PageMoment:
    """One page, when its features had to be known, and what they are said to be (at least the counter columns)."""

    page_id: str
    user_id: str | None
    us: int
    category: str | None
    features: Mapping[str, Any]


def assert_point_in_time(
    pages: Sequence[PageMoment],
    events: Mapping[str, Sequence[Happened]],
    layout: CounterLayout,
    tolerance: float = 1e-5,
) -> None:
    """Hold the counters of pages against those of the user's events strictly before each page.

    Args:
        pages: a sample of prepared pages.
        events: all events of their users by user_id, earlier and later, in any order.
        layout: names and half-lives of the counters.
        tolerance: relative difference allowed, above the rounding of float32.

    Raises:
        ContractError: a feature differs. It names page and feature: either it knows what came at or after the page, or
            misses what came before.
    """
    for page in pages:
        state = None
        if page.user_id is not None:
            state = UserState(layout)
            state.add_all([event for event in events.get(page.user_id, ()) if event.us < page.us])
            state = state.decayed_to(page.us)
        for name, expected in page_counters(state, page.category, layout).items():
            given = page.features[name]
            if given is None or not abs(given - expected) <= tolerance * abs(expected) + _NOTHING:
                raise ContractError(
                    f"Feature {name} of page {page.page_id} is {given!r}, but events before it give {expected!r}. It "
                    "uses events at or after the page's own time, or misses earlier ones: a fault in "
                    "pageopt.features.batch.user_features, not in your logs. Do not train on this data."
                )


def sample(kept: ir.Table) -> set[str]:
    """page_id of some pages of known users, the same every time."""
    known = kept.filter(kept.user_id.notnull())
    drawn = known.mutate(order=(known.page_id + "/sample").hexdigest("md5")).order_by("order").limit(SAMPLE)
    return set(drawn.select("page_id").to_pyarrow()["page_id"].to_pylist())


def moments(pages: pa.Table, sampled: set[str], category: str, layout: CounterLayout) -> list[PageMoment]:
    """Those of the prepared `pages` that are sampled; `category` is the column with what they are about."""
    rows = pa.array([row for row, page_id in enumerate(pages["page_id"].to_pylist()) if page_id in sampled], pa.int64())
    us = pages["ts"].cast(pa.int64()).take(rows).to_pylist()
    columns = list(dict.fromkeys(["page_id", "user_id", category, *layout.names]))
    return [
        PageMoment(row["page_id"], row["user_id"], at, row[category], row)
        for row, at in zip(pages.select(columns).take(rows).to_pylist(), us, strict=True)
    ]


def events_of(
    pages: Sequence[PageMoment], logs: Logs, events: UserEvents, layout: CounterLayout
) -> dict[str, list[Happened]]:
    """All `events` of the pages' users by user_id, as `assert_point_in_time` wants them."""
    users = logs.users.select("user", "user_id")
    mine = users.filter(users.user_id.isin(sorted({page.user_id for page in pages if page.user_id is not None})))
    rows = events.rows.join(mine, "user")
    keyed = [(group.by, group.of, events.keys_of(group, rows)) for group in layout.groups if group.by]
    found: dict[str, list[Happened]] = {}
    for row in rows.to_pyarrow().to_pylist():
        of = {by: keys.get(row[what]) for by, what, keys in keyed}
        found.setdefault(row["user_id"], []).append(Happened(row["us"], row["kind"], of))
    return found
