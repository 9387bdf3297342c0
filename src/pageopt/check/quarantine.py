"""Parts the rows of a table into good ones and quarantined ones, and writes both. No row gets lost on the way."""

from dataclasses import dataclass
from pathlib import Path

import ibis
import ibis.expr.types as ir

from pageopt.check.rules import duplicate
from pageopt.contract import Table
from pageopt.tables.database import Database, hashed, store, write

ROW = "__row"
"""Identifies a row of the source: number of the file and row in the file."""
REASON = "__reason"


@dataclass(frozen=True)
class Parted:
    """What became of a table: the good rows (in the database and on disk) and how many rows were bad, by reason."""

    good: ir.Table
    rows: int
    quarantined: dict[str, int]


def part(
    con: Database,
    table: Table,
    raw: ir.Table,
    typed: ir.Table,
    judged: ir.Table,
    order: tuple[str, ...],
    checked: Path,
    quarantine: Path,
) -> Parted:
    """Write the good rows to `checked`, sorted by `order`, and the others to `quarantine`.

    All three tables have ROW. `raw` has the rows as the source gave them, `typed` with the contract's types. `judged`
    has REASON, null in rows that no rule objects to, the key, `order`, and any further columns: it is kept in the
    database, so those should be small. Of rows with equal keys that are good otherwise, the first by (ts, place in the
    source) is good.
    """
    judged = store(con, f"judged_{table.name}", judged)
    repeated = _repeated(con, table, judged)
    good = judged.filter(judged[REASON].isnull()).anti_join(repeated, ROW)
    bad = judged.filter(judged[REASON].notnull()).select(ROW, REASON).union(repeated)

    by_reason = bad.group_by(REASON).aggregate(rows=ibis._.count()).order_by(ibis.desc("rows"), REASON)
    counts = {row[REASON]: row["rows"] for row in by_reason.to_pyarrow().to_pylist()}
    if counts:
        write(con, _as_json(table, raw, bad), quarantine)
    whole = good if set(table.names) <= set(good.columns) else typed.anti_join(bad, ROW)
    write(con, whole.order_by(*order).select(*table.names), checked)
    return Parted(good, good.count().to_pyarrow().as_py(), counts)


def _repeated(con: Database, table: Table, judged: ir.Table) -> ir.Table:
    """ROW and REASON of the rows whose key a good earlier row has already.

    Sorting every key would be the direct way, but takes gigabytes on large logs. So the keys that occur more than once
    are found by counting hashes, and only their rows (and those of rare equal hashes) are sorted.
    """
    earlier = ["ts"] if "ts" in table.names else []
    good = judged.filter(judged[REASON].isnull()).select(ROW, *table.key, *earlier)
    keyed = good.mutate(hash=hashed(_key(good, table)))
    twice = keyed.group_by("hash").having(ibis._.count() > 1).aggregate(rows=ibis._.count())
    suspects = store(con, f"suspects_{table.name}", keyed.semi_join(twice, "hash").drop("hash"))
    place = ibis.row_number().over(ibis.window(group_by=list(table.key), order_by=[*earlier, ROW]))
    return (
        suspects.mutate(place=place).filter(ibis._.place > 0).select(ROW, ibis.literal(duplicate(table)).name(REASON))
    )


def _key(rows: ir.Table, table: Table) -> ir.StringValue:
    """The key of a row as one text, such as page/slot."""
    return ibis.literal("/").join([rows[name].cast("string").fill_null("") for name in table.key])


def _as_json(table: Table, raw: ir.Table, bad: ir.Table) -> ir.Table:
    given = [name for name in raw.columns if name != ROW]
    row = ibis.struct({name: _json_value(raw[name]) for name in given})
    rows = raw.select(raw[ROW], row_key=_key(raw, table), row=row.cast("json").cast("string"))
    return bad.join(rows, ROW).order_by(ROW).select("row_key", reason=REASON, row="row")


def _json_value(value: ir.Column) -> ir.Value:
    """JSON has no NaN and no infinity; they become texts."""
    if not value.type().is_floating():
        return value
    text = value.cast("string")
    return ibis.ifelse(value.isnan() | value.isinf(), ibis.literal('"') + text + '"', text).cast("json")
