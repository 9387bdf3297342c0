"""Event time as integers."""

import ibis
import ibis.expr.types as ir


def microseconds(ts: ir.Column) -> ir.IntegerColumn:
    """A timestamp column as int64 microseconds since 1970 UTC, exact and whatever the session's time zone.

    Columns without a time zone are read as UTC; integer columns are microseconds already.
    """
    kind = ts.type()
    if kind.is_integer():
        return ts.cast("int64")
    origin = ibis.timestamp("1970-01-01 00:00:00" + ("" if kind.timezone is None else "+00:00"))
    return ts.delta(origin, unit="microsecond").cast("int64")
