"""What a registered version takes and gives, in MLflow's types, read off the request and the answer of the endpoint."""

from typing import Any

import msgspec
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType, Array, Object, Property
from msgspec import inspect

from pageopt.problems.item import Answer, Page

_PLAIN: dict[type, DataType] = {
    inspect.StrType: DataType.string,
    inspect.IntType: DataType.long,
    inspect.FloatType: DataType.double,
    inspect.BoolType: DataType.boolean,
}


def signature() -> ModelSignature:
    """Columns of `pageopt.release.pyfunc_model.PageModel.predict`.

    What a request may leave out has no type unless it is text: MLflow would refuse a table where one row has it and
    another has not, and the price 20 where 20.0 is meant. The model checks it, and names the field.
    """
    return ModelSignature(_schema(Page, strict=False), _schema(Answer, strict=True))


def _schema(struct: type[msgspec.Struct], strict: bool) -> Schema:
    return Schema([ColSpec(each.dtype, each.name, each.required) for each in _properties(struct, strict)])


def _properties(struct: type[msgspec.Struct], strict: bool) -> list[Property]:
    properties = []
    for field in msgspec.structs.fields(struct):
        info = inspect.type_info(field.type)
        parts = [each for each in getattr(info, "types", (info,)) if not isinstance(each, inspect.NoneType)]
        optional = len(parts) < len(getattr(info, "types", parts))
        kind = _kind(parts[0], strict)
        typed = strict or not optional or kind == DataType.string
        properties.append(Property(field.name, kind if typed else AnyType(), not optional))
    return properties


def _kind(info: inspect.Type, strict: bool) -> Any:
    if isinstance(info, inspect.StructType):
        return Object(_properties(info.cls, strict))
    if isinstance(info, inspect.ListType):
        return Array(_kind(info.item_type, strict))
    return _PLAIN.get(type(info), AnyType())
