"""The OpenAPI document: schemas come from the structs that bodies are read into, limits from the loaded model."""

from typing import Any

import msgspec

from pageopt.engine.requests import MAX_TEXT, Limits
from pageopt.serving.events import MAX_EVENTS, Event
from pageopt.serving.operations import OPERATIONS, Operation
from pageopt.serving.refusal import Refusal

VERSION = "3.1.0"  # the first whose schemas are JSON Schema, which msgspec writes
_REF = "#/components/schemas/{name}"
_ERRORS = {
    400: "A field is missing, unknown, of another type, out of range or not finite",
    404: "Another path",
    405: "Another method than POST",
    408: "The body did not arrive in time",
    413: "The body is larger than {kib} KiB",
    429: "Too many requests at once",
    503: "No model is loaded yet, or the events could not be stored",
}
_FEATURE = {
    "numeric": {"type": ["number", "null"]},
    "text": {"type": ["string", "null"], "maxLength": MAX_TEXT},
    "categorical": {"type": ["string", "number", "boolean", "null"], "maxLength": MAX_TEXT},
}


def schemas(limits: Limits | None) -> dict[str, Any]:
    """JSON schemas of all bodies by name; with the `limits` of a loaded model also what that model takes."""
    bodies = [struct for each in OPERATIONS.values() for struct in (each.asks, type(each.answer))]
    _, named = msgspec.json.schema_components([*bodies, Event, Refusal], ref_template=_REF)
    named["RecordEvents"]["properties"]["events"].update(items={"$ref": _REF.format(name="Event")}, maxItems=MAX_EVENTS)
    if limits:
        page = named["Page"]["properties"]
        _either_null(page["slots"]).update(minimum=1, maximum=limits.slots)
        _either_null(page["candidates"]).update(maxItems=limits.max_candidates)
        features = {name: _FEATURE[kind] for name, kind in limits.features.items()}
        _either_null(page["features"]).update(properties=features, additionalProperties=False)
    return named


def _either_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of the value where a field may be null too."""
    value: dict[str, Any] = schema["anyOf"][0]
    return value


def post(path: str, operation: Operation) -> dict[str, Any]:
    """The Operation Object of POST to `path`."""
    answer = {"description": "The answer", **_json(type(operation.answer), operation.answer)}
    errors = {
        str(status): {"description": why.format(kib=operation.max_bytes // 1024), **_json(Refusal)}
        for status, why in _ERRORS.items()
    }
    return {
        "operationId": path.strip("/"),
        "summary": operation.summary,
        "requestBody": {"required": True, **_json(operation.asks, operation.request)},
        "responses": {"200": answer, **errors},
    }


def _json(struct: type[msgspec.Struct], example: object = None) -> dict[str, Any]:
    """The content of a body that holds `struct`."""
    media: dict[str, Any] = {"schema": {"$ref": _REF.format(name=struct.__name__)}}
    if example is not None:
        media["example"] = msgspec.to_builtins(example)
    return {"content": {"application/json": media}}
