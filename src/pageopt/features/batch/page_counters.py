"""Counters of whole logs of pages: chunk by chunk of users, so that memory is bounded, then sorted by page."""

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from pageopt.features.batch.logs import Logs
from pageopt.features.batch.user_events import UserEvents
from pageopt.features.batch.user_features import counters_at
from pageopt.features.counters import CounterLayout, on_page
from pageopt.tables.database import append, drop, store


def count(kept: ir.Table, logs: Logs, events: UserEvents, layout: CounterLayout) -> ir.Table:
    """page, and what pages get of their users' counters over `events`, float32 by name; no row for pages of nobody."""
    connection = logs.connection
    points = kept.filter(kept.user.notnull()).select("user", "us", "category", "page")
    for low, high in logs.chunks(points, events.rows) or [(0, -1)]:
        mine = points.filter(points.user.between(low, high)).order_by("page").to_pyarrow()
        theirs = events.between(low, high)
        columns = {"page": mine["page"].cast(pa.int64())}
        for group in layout.groups:
            counted = counters_at(mine, theirs.counted(group).to_pyarrow(), group)
            counters = on_page(counted, group, layout.prior_clicks)
            for name, values in zip(group.columns, counters.astype(np.float32).T, strict=True):
                columns[name] = pa.array(values)
        append(connection, "unsorted_counters", ibis.memtable(pa.table(columns)))
    counters = store(connection, "counters", connection.table("unsorted_counters").order_by("page"))
    drop(connection, "unsorted_counters")
    return counters
