"""Sessions of users, and the part of a click that a later purchase of its session vouches for.

After section 4.4 of the TRNN paper: events of a user, a gap over T minutes starts a new session;
each click before a purchase of its session gets weight η^((t_p − t_c)/(ε·T)). Of several purchases the nearest gives
the largest weight.
"""

import ibis
import ibis.expr.types as ir

from pageopt.errors import ConfigError
from pageopt.tables.time import microseconds

MINUTE = 60_000_000  # microseconds


def attribute(events: ir.Table, gap_minutes: float, decay: float, scale: float) -> ir.Table:
    """Session and attributed purchase intent of every click.

    Events without a user belong to nobody's session: each is a session of its own.

    Args:
        events: columns event_id (unique), ts (timestamp, or int64 microseconds), user_id (nullable) and kind; more are
            ignored.
        gap_minutes: T; a gap of more than this starts a new session.
        decay: η in (0, 1).
        scale: ε > 0.

    Returns:
        One row a click, in no order: event_id, session_id (string), weight (float64 in [0, 1]; 0 where no purchase of
        the session comes later in the order of (ts, event_id)).

    Raises:
        ConfigError: a parameter outside its range.
    """
    if gap_minutes <= 0 or not 0 < decay < 1 or scale <= 0:
        raise ConfigError(
            f"Attribution needs gap_minutes > 0, 0 < decay < 1 and scale > 0, not {gap_minutes}, {decay}, {scale}. "
            "Change section prepare of params.yaml."
        )
    gap_us = round(gap_minutes * MINUTE)
    # Integer time: engines differ in what they can take from timestamps, and a float loses microseconds.
    timed = events.select("event_id", "user_id", "kind", us=microseconds(events.ts))
    # Strings of users end in # and a number, those of nobody start with #: no session of one is a session of the other.
    timed = timed.mutate(visitor=timed.user_id.fill_null(ibis.literal("#") + timed.event_id))
    order = ibis.window(group_by="visitor", order_by=["us", "event_id"])
    before = timed.us.lag().over(order)
    opened = timed.mutate(opens=(before.notnull() & (timed.us - before > gap_us)).cast("int64"))
    running = ibis.window(group_by="visitor", order_by=["us", "event_id"], preceding=(None, 0))
    numbered = opened.mutate(number=opened.opens.sum().over(running))
    bought = ibis.ifelse(numbered.kind == "purchase", numbered.us, None).cast("int64")
    later = ibis.window(group_by=["visitor", "number"], order_by=["us", "event_id"], following=(1, None))
    followed = numbered.mutate(purchase_us=bought.min().over(later))
    clicks = followed.filter(followed.kind == "click")
    wait = (clicks.purchase_us - clicks.us).cast("float64") / (scale * gap_minutes * MINUTE)
    return clicks.select(
        "event_id",
        session_id=ibis.ifelse(
            clicks.user_id.isnull(), clicks.visitor, clicks.visitor + "#" + clicks.number.cast("string")
        ),
        weight=(ibis.literal(float(decay)) ** wait).fill_null(0.0),
    )
