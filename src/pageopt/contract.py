"""The data contract: which tables there are, their columns, types, units, nullability and keys.

Parquet, one folder a table, times in UTC with microseconds. Whoever writes a table takes its Arrow schema from here;
stage check holds tables against it; later stages rely on it. Further columns declared in params.yaml (section
`features`) become part of the contract of their table.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import pyarrow as pa

from pageopt.config import FeatureColumn, FeatureParams, Kind
from pageopt.errors import ConfigError, ContractError

if TYPE_CHECKING:  # pandera and ibis take a second to import, and sources only need the Arrow schemas
    import ibis.expr.datatypes as dt
    import ibis.expr.types as ir
    import pandera.ibis as pandera

Type = Literal["string", "time", "int32", "float64", "strings"]

_ARROW: dict[Type, pa.DataType] = {
    "string": pa.string(),
    "time": pa.timestamp("us", tz="UTC"),
    "int32": pa.int32(),
    "float64": pa.float64(),
    "strings": pa.list_(pa.string()),
}
_FEATURE_TYPE: dict[str, Type] = {"categorical": "string", "text": "string", "numeric": "float64"}

KINDS: tuple[str, ...] = get_args(Kind)
"""Kinds of events. That a module was shown is an impression, not an event."""


@dataclass(frozen=True)
class Column:
    """A column; one that is `nullable` may also be missing from a source altogether."""

    name: str
    type: Type
    meaning: str
    nullable: bool = False

    @property
    def arrow_type(self) -> pa.DataType:
        """What writers of the table use."""
        return _ARROW[self.type]

    @property
    def ibis_type(self) -> "dt.DataType":
        """The same in Ibis."""
        import ibis.expr.datatypes as dt

        return dt.DataType.from_pyarrow(self.arrow_type)


@dataclass(frozen=True)
class Table:
    """A table: its columns, and the columns that identify a row."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    optional: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All its columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that a source must have, without nulls."""
        return tuple(column.name for column in self.columns if not column.nullable)

    @property
    def arrow_schema(self) -> pa.Schema:
        """What writers of the table use."""
        return pa.schema([pa.field(c.name, c.arrow_type, nullable=c.nullable) for c in self.columns])


MODULES = Table(
    "modules",
    (
        Column("module_id", "string", "a recommendation module (carousel)"),
        Column("family", "string", "modules of one family show similar content; never two neighbours of one family"),
        Column("algorithm", "string", "what ranks the items inside the module"),
        Column("theme", "string", "what its title says it is about"),
        Column("recall", "string", "where its items come from"),
    ),
    key=("module_id",),
)
ITEMS = Table(
    "items",
    (
        Column("item_id", "string", "an item that a page can be about"),
        Column("title", "string", "its title, as shown"),
        Column("category", "string", "its category"),
        Column("brand", "string", "its brand", nullable=True),
        Column("price", "float64", "its price in the shop's currency, at least 0"),
    ),
    key=("item_id",),
)
USERS = Table("users", (Column("user_id", "string", "a user"),), key=("user_id",), optional=True)
PAGES = Table(
    "pages",
    (
        Column("page_id", "string", "one visit to a page"),
        Column("user_id", "string", "the visitor, where known", nullable=True),
        Column("ts", "time", "when the page was shown"),
        Column("platform", "string", "web, app and the like"),
        Column("hero_item_id", "string", "the item that the page is about"),
        Column("policy", "string", "what chose the modules: random, thompson, production or a name of your own"),
        Column("candidates", "strings", "module_id of every module that could have been shown, each once"),
    ),
    key=("page_id",),
)
IMPRESSIONS = Table(
    "impressions",
    (
        Column("page_id", "string", "the page"),
        Column("slot", "int32", "place on the page, counted from 1 at the top"),
        Column("module_id", "string", "the module shown there"),
        Column("propensity", "float64", "probability in (0, 1] that the policy put it there", nullable=True),
    ),
    key=("page_id", "slot"),
)
EVENTS = Table(
    "events",
    (
        Column("event_id", "string", "one event"),
        Column("ts", "time", "when it happened"),
        Column("user_id", "string", "who did it, where known", nullable=True),
        Column("kind", "string", "click, watch, cart or purchase"),
        Column("page_id", "string", "the page that it happened on or came from, where known", nullable=True),
        Column("module_id", "string", "the module on that page, where known", nullable=True),
        Column("slot", "int32", "the slot of that module, where known", nullable=True),
        Column("item_id", "string", "the item concerned; need not be in items", nullable=True),
        Column("price", "float64", "what was paid, in the shop's currency, at least 0", nullable=True),
    ),
    key=("event_id",),
)

TABLES: dict[str, Table] = {t.name: t for t in (MODULES, ITEMS, USERS, PAGES, IMPRESSIONS, EVENTS)}
"""Without declared columns, and in an order in which each refers only to those before it."""


def tables(features: FeatureParams) -> dict[str, Table]:
    """The contract with the columns declared in params.yaml. Raises ConfigError where a name is taken."""
    declared: dict[str, tuple[FeatureColumn, ...]] = {
        "pages": features.pages,
        "items": features.items,
        "modules": features.modules,
        "users": features.users,
    }
    return {name: _extended(table, declared.get(name, ())) for name, table in TABLES.items()}


def _extended(table: Table, declared: tuple[FeatureColumn, ...]) -> Table:
    taken = sorted({column.name for column in declared} & set(table.names))
    if taken:
        raise ConfigError(
            f"params.yaml declares features.{table.name} {taken}, but the contract already has columns of that name "
            f"in {table.name}. They are used without being declared: remove the entries, or rename your columns."
        )
    extra = tuple(
        Column(column.name, _FEATURE_TYPE[column.kind], f"declared {column.kind} feature", nullable=True)
        for column in declared
    )
    return Table(table.name, (*table.columns, *extra), table.key, table.optional and not extra)


def pandera_schema(table: Table, slots: int | None = None) -> "pandera.DataFrameSchema":
    """What can be said of the values of `table` on its own, for pandera: nulls, ranges and the key.

    `slots` is the number of slots of the page, where known. Validation runs inside the database of the Ibis table.
    """
    import ibis
    import pandera.ibis as pandera

    def is_number(data: "pandera.IbisData") -> "ir.BooleanColumn":
        # asked for by name: the statistics of Parquet files leave NaN out, and DuckDB trusts them in comparisons
        value = data.table[data.key]
        return ~(value.isnan() | value.isinf())

    number = pandera.Check(is_number, name="finite number")
    ranges = {
        "slot": [pandera.Check.ge(1), *([pandera.Check.le(slots)] if slots else [])],
        "kind": [pandera.Check.isin(KINDS)],
        "price": [number, pandera.Check.ge(0)],
        "propensity": [number, pandera.Check.gt(0), pandera.Check.le(1)],
    }

    def key_is_unique(data: "pandera.IbisData") -> bool:
        # pandera's own `unique` numbers the rows of every key in a window, which takes gigabytes on large tables
        by_key = data.table.group_by(*table.key).aggregate(rows=ibis._.count())
        return bool((by_key.rows.max() == 1).execute())

    contract_columns = TABLES[table.name].names
    columns = {
        column.name: pandera.Column(
            checks=ranges.get(column.name, []) if column.name in contract_columns else [], nullable=column.nullable
        )
        for column in table.columns
    }
    unique = pandera.Check(key_is_unique, name=f"unique ({', '.join(table.key)})", ignore_na=False)
    return pandera.DataFrameSchema(columns, checks=[unique], strict=True, name=table.name)


def validate(table: Table, rows: "ir.Table", slots: int | None = None) -> None:
    """Hold `rows` against the contract of `table`. Raises ContractError that lists what breaks it."""
    from pandera.errors import SchemaErrors

    # pandera knows no list types, so types are compared here
    expected, given = {c.name: c.ibis_type for c in table.columns}, dict(rows.schema().items())
    if given != expected:
        wrong = [
            f"  {name} is {given.get(name, 'missing')}, should be {expected.get(name, 'absent')}"
            for name in expected | given
            if given.get(name) != expected.get(name)
        ]
        raise ContractError(f"Table {table.name} breaks the data contract:\n" + "\n".join(wrong))
    if not rows.limit(1).count().execute():  # to pandera, no rows are rows that fail
        return
    try:
        pandera_schema(table, slots).validate(rows, lazy=True)
    except SchemaErrors as errors:
        broken = [f"  {' '.join(str(error).split())[:300]}" for error in errors.schema_errors]
        raise ContractError(f"Table {table.name} breaks the data contract:\n" + "\n".join(broken)) from None
