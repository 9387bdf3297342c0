"""Brings a source's columns to the contract's types, row by row: what does not convert is a bad value, not an error."""

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from pageopt.contract import Column, Type


def cast(value: ir.Column, column: Column) -> tuple[ir.Column, ir.BooleanValue]:
    """`value` as the contract's type, null where it does not convert, and whether it did not.

    - Numbers become text without a fraction where they have none, so that an id column that pandas turned into floats
      (7.0) still meets the other tables' 7.
    - Whole numbers are whole: 1.5 is no slot, although DuckDB would round it.
    - NaN in a column that is not a float of the contract stands for a missing value, as data frames write it.
    - Times without a zone are UTC. Bare numbers are no times: their unit would be a guess.
    """
    given = value.type()
    if given == column.ibis_type:
        return value, ibis.literal(False)
    value = _nan_as_null(value, column.type)
    converted = _converted(value, column)
    return converted, value.notnull() & converted.isnull()


def _nan_as_null(value: ir.Column, type_: Type) -> ir.Column:
    return value.nullif(float("nan")) if value.type().is_floating() and type_ != "float64" else value


def _converted(value: ir.Column, column: Column) -> ir.Column:
    given = value.type()
    nothing = ibis.null(column.ibis_type)
    match column.type:
        case "string" if given.is_floating():
            whole = value.try_cast("int64")
            return ibis.ifelse(whole.cast("float64") == value, whole.cast("string"), value.cast("string"))
        case "string":
            return value.try_cast("string") if _is_scalar(given) else nothing
        case "time":
            known = given.is_timestamp() or given.is_date() or given.is_string()
            return value.try_cast(column.ibis_type) if known else nothing
        case "int32" if given.is_integer():
            return value.try_cast("int32")
        case "int32":
            number = value.try_cast("float64") if _is_scalar(given) and not given.is_temporal() else nothing
            rounded = number.try_cast("int32")
            return ibis.ifelse(rounded.cast("float64") == number, rounded, ibis.null("int32"))
        case "float64":
            return value.try_cast("float64") if _is_scalar(given) and not given.is_temporal() else nothing
        case "strings":
            return value.try_cast("array<string>") if given.is_array() else nothing


def _is_scalar(given: dt.DataType) -> bool:
    return not (given.is_nested() or given.is_binary())
