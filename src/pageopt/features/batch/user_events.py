"""All that users did, looked at and were shown, with what each of it counts for: what their counters are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from pageopt.features.batch.logs import Logs
from pageopt.features.counters import SHOWN, VIEW, CounterGroup, CounterLayout, Key
from pageopt.tables.database import store


@dataclass(frozen=True)
class UserEvents:
    """What happened to known users, and keys of what it happened with.

    Attributes:
        rows: user, us (microseconds), kind, and item and module, null where there is none. An event is of the module
            that it names, even where that was not logged as shown.
        keys: by each property that counters are kept by, the item or module, key (place among the group's), and times,
            how much of what has the item or module is the key's.
    """

    rows: ir.Table
    keys: Mapping[str, ir.Table]

    def between(self, low: int, high: int) -> "UserEvents":
        """Those of users `low` to `high`."""
        return replace(self, rows=self.rows.filter(self.rows.user.between(low, high)))

    def counted(self, group: CounterGroup) -> ir.Table:
        """What a group counts: user, us, kind, times, and the key under the name `group.by`."""
        rows = self.rows.filter(self.rows.kind.isin(group.kinds))
        if not group.by:
            return rows.select("user", "us", "kind", times=ibis.literal(1.0))
        rows = rows.join(self.keys[group.by], group.of).rename({group.by: "key"})
        columns = ("user", "us", "kind", group.by)
        if group.of == "module":  # a page shows several of a family
            return rows.group_by(columns).agg(times=rows.times.sum())
        return rows.select(*columns, "times")

    def keys_of(self, group: CounterGroup, only: ir.Table | None = None) -> dict[int, Key]:
        """The keys of each item or module by its number; `only` of those in a table's column `group.of`.

        One key of which all is, by its name; others by their shares.
        """
        table = self.keys[group.by]
        if only is not None:
            table = table.semi_join(only, group.of)
        shares: dict[int, dict[str, float]] = {}
        for row in table.order_by(group.of, "key").to_pyarrow().to_pylist():
            shares.setdefault(row[group.of], {})[group.keys[row["key"]]] = row["times"]
        return {number: next(iter(of)) if list(of.values()) == [1] else of for number, of in shares.items()}


def user_events(logs: Logs, layout: CounterLayout, topics: pa.Table) -> UserEvents:
    """The events, views and impressions of `logs`; `topics` has the items' shares: item, key, times."""
    connection = logs.connection
    done = logs.events.select("user", "us", "kind", "item", module="named_module")
    pages = logs.pages.select("page", "user", "us", "item")
    nothing = ibis.null("int64")
    looked = pages.select("user", "us", "item", kind=ibis.literal(VIEW), module=nothing)
    shown = logs.shown.join(pages.drop("item"), "page")
    shown = shown.select("user", "us", "module", kind=ibis.literal(SHOWN), item=nothing)
    columns = {"user": "int64", "us": "int64", "kind": "string", "item": "int64", "module": "int64"}
    done, looked, shown = (
        rows.select(*(rows[name].cast(kind).name(name) for name, kind in columns.items()))
        for rows in (done, looked, shown)
    )
    rows = done.union(looked).union(shown)
    rows = store(connection, "user_events", rows.filter(rows.user.notnull()).order_by("user"))
    categories = logs.items.filter(logs.items.category_code.notnull())
    keys = {
        "category": categories.select("item", key="category_code", times=ibis.literal(1.0)),
        "topic": store(connection, "topic_of_items", ibis.memtable(topics)),
    }
    for by, usual in layout.lifts.items():
        values = pa.table({by: pa.array(usual, pa.string()), "key": pa.array(range(len(usual)), pa.int64())})
        coded = logs.modules.select("module", by).join(ibis.memtable(values), by)
        modules = coded.select(module=coded.module.cast("int64"), key="key", times=ibis.literal(1.0))
        keys[by] = store(connection, f"{by}_of_modules", modules)
    return UserEvents(rows, keys)
