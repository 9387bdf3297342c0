"""Every logged page with its split and what came of it, before pages are sampled; and the log in numbers."""

from typing import Literal

import ibis.expr.types as ir

from pageopt.features.batch.split import SPLITS, SplitTimes


def traffic_of(pages: ir.Table, labels: ir.Table, times: SplitTimes) -> ir.Table:
    """`pages` with split, interacted (whether there was any event), and the modules clicked and bought from (int64)."""
    happened = labels.group_by("page").agg(
        clicks=labels.click.sum().cast("int64"), purchases=labels.purchase.sum().cast("int64")
    )
    joined = pages.left_join(happened, "page").drop("page_right")
    return joined.mutate(
        split=times.name(joined.us),
        interacted=joined.clicks.notnull(),
        clicks=joined.clicks.fill_null(0),
        purchases=joined.purchases.fill_null(0),
    )


def by_policy(traffic: ir.Table) -> dict[str, dict[str, dict[str, int]]]:
    """What was logged: split, policy, and pages, clicks, purchases."""
    counts = traffic.group_by("split", "policy").agg(
        pages=traffic.count(), clicks=traffic.clicks.sum(), purchases=traffic.purchases.sum()
    )
    numbers: dict[str, dict[str, dict[str, int]]] = {split: {} for split in SPLITS}
    for row in counts.order_by(["split", "policy"]).to_pyarrow().to_pylist():
        numbers[row.pop("split")][row.pop("policy")] = row
    return numbers


def by_kind(events: ir.Table) -> dict[str, dict[str, int]]:
    """Events by kind, and how many of them belong to an impression."""
    counts = events.group_by("kind").agg(logged=events.count(), on_impressions=events.page.count())
    return {row.pop("kind"): row for row in counts.order_by("kind").to_pyarrow().to_pylist()}


def uncredited(events: ir.Table, labels: ir.Table) -> dict[str, float | None]:
    """Shares of the purchases that credit no module: see `PrepareReport`. None where nothing was bought."""
    bought = events.filter(events.kind == "purchase").select("page", "slot")
    bought = bought.left_join(labels.select("page", "slot", "attributed"), ["page", "slot"])
    shares = bought.agg(
        zero_label=(bought.attributed == 0).fill_null(False).mean(), untraced=bought.page.isnull().mean()
    )
    return shares.to_pyarrow().to_pylist()[0]


def observed(shown: ir.Table) -> Literal["pages", "single"]:
    """What impressions tell of a page: "pages", or "single" where never more than one slot of it."""
    filled = shown.group_by("page").agg(slots=shown.count())
    return "pages" if int(filled.slots.max().fill_null(0).execute()) > 1 else "single"
