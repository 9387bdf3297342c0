"""Counters of whole logs of pages: chunk by chunk of users, so that memory is bounded, then sorted by page."""

import ibis.expr.types as ir

from pageopt.features.batch.logs import Logs
from pageopt.features.batch.user_features import counters_by_key, dense_counters, top_of
from pageopt.features.counters import CounterLayout
from pageopt.tables.database import append, drop, store


def count(kept: ir.Table, logs: Logs, layout: CounterLayout) -> dict[str, ir.Table]:
    """Counters of the pages `kept`, as `PageTables.counters` wants them."""
    connection = logs.connection
    points = kept.filter(kept.user.notnull()).select("user", "us", "category", point="page")
    events = logs.of_users(layout)
    for low, high in logs.chunks(points, events):
        mine = points.filter(points.user.between(low, high))
        theirs = events.filter(events.user.between(low, high))
        for group in layout.groups:
            if not group.spread:
                append(connection, f"unsorted_{group.name}", dense_counters(mine, theirs, group, layout))
            if group.top:
                sparse = store(connection, "chunk", counters_by_key(mine, theirs, group, layout))
                append(connection, f"unsorted_{group.top}", top_of(sparse, group, layout))
                if group.spread:
                    append(connection, f"unsorted_{group.name}", sparse)
                drop(connection, "chunk")
    tables = {}
    for name in (*(group.name for group in layout.groups), *layout.categorical_names):
        tables[name] = store(connection, name, connection.table(f"unsorted_{name}").order_by("point"))
        drop(connection, f"unsorted_{name}")
    return tables
