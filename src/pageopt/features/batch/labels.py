"""Events to labels of the impressions they belong to.

An event belongs to the impression that it names by page and module, if that was shown. An intent event or purchase that
names none belongs to the last earlier click of the same visitor on the same item, if that is not too long ago: a
purchase often lands on another page than the click that led to it (TRNN paper, section 4.4).
"""

import ibis
import ibis.expr.types as ir

from pageopt.config import PrepareParams
from pageopt.features.sessions import attribute

HOUR = 3_600_000_000  # microseconds
INTENT_KINDS = ("watch", "cart")


def resolve(events: ir.Table, shown: ir.Table, window_hours: float) -> ir.Table:
    """The impression that each event belongs to.

    Args:
        events: seq (int64, unique, in the order of (ts, event_id)), us (int64 microseconds), visitor (string, null for
            nobody), kind, item_id, and page, module, slot as the event names them (integers, null where it does not).
        shown: page, slot, module of every impression.
        window_hours: how long before an intent event or purchase its click may be.

    Returns:
        seq, page, slot, module of the impression, one row for each event that has one, in no order. Of several
        impressions of one module on a page, the one in the named slot, else the uppermost.
    """
    shown = shown.select(at_page="page", at_slot="slot", at_module="module")
    named = events.filter(events.page.notnull() & events.module.notnull())
    hits = named.join(shown, [named.page == shown.at_page, named.module == shown.at_module])
    direct = (
        hits.group_by("seq")
        .agg(
            page=hits.at_page.min(),
            slot=hits.at_slot.min(where=hits.at_slot == hits.slot).fill_null(hits.at_slot.min()),
            module=hits.at_module.min(),
        )
        .select("seq", "page", "slot", "module")
    )
    return direct.union(_by_item(events, direct, window_hours))


def _by_item(events: ir.Table, direct: ir.Table, window_hours: float) -> ir.Table:
    """Intent events and purchases without an impression of their own, by the last click on their item."""
    known = direct.select(known_seq="seq", known_page="page", known_slot="slot", known_module="module")
    bought = events.filter(events.visitor.notnull() & events.item_id.notnull())
    joined = bought.left_join(known, bought.seq == known.known_seq)
    relevant = joined.filter((joined.kind != "click") | joined.known_seq.notnull())
    click_seq = ibis.ifelse(relevant.kind == "click", relevant.seq, None).cast("int64")
    earlier = ibis.window(group_by=["visitor", "item_id"], order_by="seq", preceding=(None, 1))
    followed = relevant.mutate(click_seq=click_seq.max().over(earlier))
    lost = followed.filter((followed.kind != "click") & followed.known_seq.isnull() & followed.click_seq.notnull())
    lost = lost.select("seq", "us", "click_seq")
    clicks = joined.filter((joined.kind == "click") & joined.known_seq.notnull())
    clicks = clicks.select("known_seq", "known_page", "known_slot", "known_module", click_us="us")
    regained = lost.join(clicks, lost.click_seq == clicks.known_seq)
    regained = regained.filter(regained.us - regained.click_us <= round(window_hours * HOUR))
    return regained.select("seq", page="known_page", slot="known_slot", module="known_module")


def label(resolved: ir.Table, weights: ir.Table) -> ir.Table:
    """Labels of the impressions that something happened to.

    Args:
        resolved: page, slot, kind and event_id of every event that belongs to an impression.
        weights: event_id and weight of clicks, from `sessions.attribute`.

    Returns:
        page, slot, and float32 click, intent, purchase (0 or 1) and attributed (in [0, 1]: 1 where what was clicked is
        also bought, however much later, else the largest weight of the impression's clicks); impressions that are not
        there have 0 in all four.
    """
    weights = weights.select(click_id="event_id", weight="weight")
    events = resolved.left_join(weights, resolved.event_id == weights.click_id)

    def any_of(*kinds: str) -> ir.Value:
        return events.kind.isin(kinds).cast("int8").max().cast("float32")

    click, purchase = any_of("click"), any_of("purchase")
    # Its own click, which `resolve` knows, may be sessions before a purchase: the weights are for the other clicks.
    credit = ibis.greatest(click * purchase, events.weight.max().fill_null(0.0))
    return events.group_by("page", "slot").agg(
        click=click, intent=any_of(*INTENT_KINDS), purchase=purchase, attributed=credit.cast("float32")
    )


def labels_of(events: ir.Table, params: PrepareParams) -> ir.Table:
    """`label` for all the events of `Logs.events`, with the sessions and attribution that section prepare asks for."""
    visitors = events.select("event_id", "kind", ts="us", user_id="visitor")
    weights = attribute(visitors, params.session_gap_minutes, params.attribution.decay, params.attribution.scale)
    return label(events.filter(events.page.notnull()).select("page", "slot", "kind", "event_id"), weights)
