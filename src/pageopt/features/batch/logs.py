"""Checked logs as tables of integers in the database: strings are joined once, everything after works on numbers."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from pageopt.config import FeatureParams
from pageopt.errors import ContractError
from pageopt.features.batch.labels import resolve
from pageopt.problems.base import Problem, Subject
from pageopt.tables.database import Database, store
from pageopt.tables.time import microseconds

CHUNK_ROWS = 400_000  # pages and events whose counters are computed at a time


@dataclass(frozen=True)
class Logs:
    """The tables. Codes are places in the sorted names; `page` numbers pages in the order of (ts, page_id).

    Attributes:
        connection: the database they are in.
        categories: sorted names.
        modules: the contract's columns and declared ones, and module (place by module_id).
        items: the contract's columns and declared ones, and item (place by item_id), category_code.
        users: user (place by user_id), user_id, and declared columns, of every user that any table names.
        pages: page, page_id, user (null for nobody), us (microseconds), platform, policy, and item and category (code)
            of what it is about.
        shown: page, slot, module, propensity of every impression.
        events: seq (in the order of (ts, event_id)), event_id, us, visitor, user, kind, item, named_module, and page,
            slot, module of the impression it belongs to (null where there is none).
        checked: the Parquet tables themselves, by name.
    """

    connection: Database
    categories: tuple[str, ...]
    modules: ir.Table
    items: ir.Table
    users: ir.Table
    pages: ir.Table
    shown: ir.Table
    events: ir.Table
    checked: dict[str, ir.Table]

    @cached_property
    def module_ids(self) -> list[str]:
        """By place."""
        return self.modules.order_by("module").select("module_id").to_pyarrow()["module_id"].to_pylist()

    def chunks(self, *tables: ir.Table) -> list[tuple[int, int]]:
        """Ranges of users, first and last, that share out the rows of the tables."""
        rows = sum(int(table.count().execute()) for table in tables)
        users = max(1, int(self.users.count().execute()))
        size = -(-users // max(1, -(-rows // CHUNK_ROWS)))
        return [(low, min(users, low + size) - 1) for low in range(0, users, size)]


def read_logs(
    connection: Database, problem: Problem, checked: Path, features: FeatureParams, purchase_window_hours: float
) -> Logs:
    """Read the tables of stage check. Raises ContractError where one is missing or empty."""
    source = {
        name: _parquet(connection, checked, name) for name in ("modules", "items", "pages", "impressions", "events")
    }
    if (checked / "users").is_dir():
        source["users"] = _parquet(connection, checked, "users")
    categories = names_of(source["items"].category)
    numbered = source["modules"].mutate(module=ibis.row_number().over(order_by="module_id").cast("int32"))
    modules = store(connection, "modules", numbered)
    items = source["items"].left_join(_codes(connection, "category", categories), "category").drop("category_right")
    items = items.rename(category_code="code").mutate(item=ibis.row_number().over(order_by="item_id"))
    items = store(connection, "items", items)
    users = _users(connection, source, features)
    pages = _pages(connection, problem.subject, source["pages"], items, users)
    by_page = pages.select("page", "page_id")
    by_module = modules.select("module", "module_id")
    shown = source["impressions"].join(by_page, "page_id").join(by_module, "module_id")
    shown = store(connection, "shown", shown.select("page", "slot", "module", "propensity").order_by("page"))
    events = _events(connection, source["events"], by_page, by_module, items, users)
    resolved = store(connection, "resolved", resolve(events, shown, purchase_window_hours))
    events = store(connection, "events", _with_impression(events, resolved))
    return Logs(connection, categories, modules, items, users, pages, shown, events, source)


def _parquet(connection: Database, checked: Path, name: str) -> ir.Table:
    files = sorted((checked / name).glob("*.parquet"))
    if not files:
        raise ContractError(f"No Parquet file in {checked / name}. Run stage check first: dvc repro check")
    return connection.read_parquet([str(file) for file in files], table_name=f"checked_{name}")


def names_of(column: ir.StringColumn) -> tuple[str, ...]:
    """The values of a column, sorted."""
    names = column.as_table().distinct().to_pyarrow().column(0).to_pylist()
    return tuple(sorted(name for name in names if name is not None))


def _codes(connection: Database, column: str, names: tuple[str, ...]) -> ir.Table:
    """The names, in `column`, with their places, in code."""
    table = pa.table({column: pa.array(names, pa.string()), "code": pa.array(range(len(names)), pa.int64())})
    return store(connection, f"{column}_codes", ibis.memtable(table))


def _users(connection: Database, source: dict[str, ir.Table], features: FeatureParams) -> ir.Table:
    ids = source["pages"].select("user_id").union(source["events"].select("user_id"))
    if "users" in source:
        ids = ids.union(source["users"].select("user_id"))
    ids = ids.filter(ids.user_id.notnull()).distinct()
    users = ids.mutate(user=ibis.row_number().over(order_by="user_id"))
    if "users" in source:
        users = users.left_join(source["users"], "user_id")
        users = users.select("user", "user_id", *(column.name for column in features.users))
    return store(connection, "users", users.order_by("user"))


def _pages(connection: Database, subject: Subject, pages: ir.Table, items: ir.Table, users: ir.Table) -> ir.Table:
    pages = pages.mutate(us=microseconds(pages.ts))
    pages = pages.mutate(page=ibis.row_number().over(order_by=["us", "page_id"]))
    subjects = items.select("item", **{subject.named: subject.key, "category": "category_code"})
    pages = pages.left_join(subjects, subject.named).left_join(users.select("user", "user_id"), "user_id")
    columns = ("page", "page_id", "user", "us", "platform", "policy", "item", "category")
    return store(connection, "pages", pages.select(*columns).order_by("page"))


def _events(
    connection: Database, events: ir.Table, pages: ir.Table, modules: ir.Table, items: ir.Table, users: ir.Table
) -> ir.Table:
    events = events.mutate(us=microseconds(events.ts))
    events = events.mutate(seq=ibis.row_number().over(order_by=["us", "event_id"]))
    # Without a user the page says who it was: what is done on one page is done by one visitor.
    events = events.mutate(visitor=events.user_id.fill_null(ibis.literal("#") + events.page_id))
    joined = (
        events.left_join(pages, "page_id")
        .left_join(modules, "module_id")
        .left_join(items.select("item_id", "item"), "item_id")
        .left_join(users.select("user", "user_id"), "user_id")
    )
    columns = ("seq", "event_id", "us", "visitor", "user", "kind", "item_id", "item", "page", "slot", "module")
    return store(connection, "named_events", joined.select(*columns))


def _with_impression(events: ir.Table, resolved: ir.Table) -> ir.Table:
    """Events with the impression they belong to in place of the one they name."""
    events = events.rename(named_module="module").drop("page", "slot", "item_id")
    return events.left_join(resolved, "seq").drop("seq_right")
