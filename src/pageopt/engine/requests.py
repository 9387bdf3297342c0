"""What a body of /rank_page may hold. What cannot be answered becomes a RequestError that names the field."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgspec

from pageopt.errors import RequestError
from pageopt.problems.item import EXPECTED, MAX_TEXT, Page

MAX_PAGE_BYTES = 256 * 1024
MAX_FEATURES = 200


class RankPage(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of POST /rank_page."""

    page: Page


@dataclass(frozen=True)
class Limits:
    """What the served model can answer: its slots, its longest list of candidates, its declared features by kind."""

    slots: int
    max_candidates: int = 1000
    features: Mapping[str, str] = field(default_factory=dict)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}".lstrip(".")


def _objects(of: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, tuple[msgspec.structs.FieldInfo, ...]]]:
    """Path and members of the body and of each object in it."""
    members = msgspec.structs.fields(of)
    yield path, members
    for member in members:
        if isinstance(member.type, type) and issubclass(member.type, msgspec.Struct):
            yield from _objects(member.type, _join(path, member.name))


_OBJECTS = dict(_objects(RankPage))
_KNOWN = {path: tuple(member.name for member in members) for path, members in _OBJECTS.items()}
_REQUIRED = frozenset(
    {"", *(_join(path, member.name) for path, members in _OBJECTS.items() for member in members if member.required)}
)
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?:key` in `)?\$\.?(?P<path>.*)`)?$", re.S)
_MEMBER = re.compile(r"^Object (?P<how>contains unknown|missing required) field `(?P<name>.*)`$", re.S)
_DECODER = msgspec.json.Decoder(RankPage)


def shorten(text: str, length: int = 100) -> str:
    """`text`, cut: what callers sent goes into messages and logs only in part."""
    return text if len(text) <= length else text[:length] + "…"


def parse_page(body: bytes, limits: Limits) -> Page:
    """The page of a body of /rank_page. Raises RequestError for everything that cannot be answered."""
    try:
        page = _DECODER.decode(body).page
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        refuse(body, error, EXPECTED, _REQUIRED, _KNOWN)
    if page.slots is not None and not 1 <= page.slots <= limits.slots:
        raise RequestError(
            f"page.slots is {shorten(str(page.slots), 20)}, and the model fills slots 1 to {limits.slots}.",
            field="page.slots",
            fix=f"Send a whole number from 1 to {limits.slots}, or leave it out for {limits.slots}.",
        )
    if page.candidates is not None and len(page.candidates) > limits.max_candidates:
        raise RequestError(
            f"page.candidates holds {len(page.candidates)} modules, more than {limits.max_candidates}.",
            field="page.candidates",
            fix=f"Send at most {limits.max_candidates}, or leave it out for all modules of the model.",
        )
    if page.features:
        _check_features(page.features, limits)
    return page


def _check_features(features: dict[str, Any], limits: Limits) -> None:
    if len(features) > MAX_FEATURES:
        raise RequestError(
            f"page.features holds {len(features)} values, more than {MAX_FEATURES}.",
            field="page.features",
            fix="Send only features that the model declares.",
        )
    for name, value in features.items():
        kind = limits.features.get(name)
        if kind is None:
            place = f"page.features.{shorten(name)}"
            known = ", ".join(sorted(limits.features)) or "none"
            raise RequestError(
                f"{place} is not a feature of the model.", field=place, fix=f"Leave it out. Known features: {known}."
            )
        if value is not None:
            _check_feature(f"page.features.{name}", kind, value)


def _check_feature(place: str, kind: str, value: object) -> None:
    if kind == "numeric":
        # msgspec lets whole numbers through that no float can hold.
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > 1.7e308:
            raise RequestError(
                f"{place} must be a finite number, not {_kind_of(value)}.",
                field=place,
                fix="Send a finite number, or null where it is missing.",
            )
    elif isinstance(value, list | dict) or (kind == "text" and not isinstance(value, str)):
        raise RequestError(
            f"{place} must be {'a string' if kind == 'text' else 'one plain value'}, not {_kind_of(value)}.",
            field=place,
            fix="Send a string, or null where it is missing.",
        )
    elif isinstance(value, str) and len(value) > MAX_TEXT:
        raise RequestError(
            f"{place} has {len(value)} characters, more than {MAX_TEXT}.",
            field=place,
            fix=f"Send at most {MAX_TEXT} characters.",
        )


def _kind_of(value: object) -> str:
    if isinstance(value, str):
        return "a string"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return f"the number {shorten(str(value), 20)}"
    return "a list" if isinstance(value, list) else "an object"


def refuse(
    body: bytes,
    error: Exception,
    expected: Mapping[str, str],
    required: frozenset[str],
    known: Mapping[str, tuple[str, ...]],
) -> NoReturn:
    """Raise the RequestError for a body that msgspec could not decode.

    `expected` tells per field what to send, `required` holds the fields that cannot be left out, `known` the members of
    each object; the path "" is the body itself.
    """
    whole = f"Send {expected['']}, in UTF-8."
    if isinstance(error, RecursionError):
        raise RequestError("The body is nested too deeply.", field="", fix=whole) from None
    if isinstance(error, UnicodeDecodeError):
        raise RequestError("The body is not UTF-8.", field="", fix=whole) from None
    if not_finite := find_not_finite(body):
        path, literal = not_finite
        raise RequestError(
            f"{path or 'The body'} is {literal}, which is not a finite number.",
            field=path,
            fix="Send a finite number, or null where it is missing.",
        ) from None
    if not isinstance(error, msgspec.ValidationError):
        raise RequestError(f"The body is not valid JSON: {error}.", field="", fix=whole) from None
    match = _PLACE.match(str(error))
    what, path = (match["what"], match["path"] or "") if match else (str(error), "")
    if member := _MEMBER.match(what):
        raise _of_member(path, shorten(member["name"]), member["how"], expected, known) from None
    raise _of_value(path, what, expected, required) from None


def _of_member(
    path: str, name: str, how: str, expected: Mapping[str, str], known: Mapping[str, tuple[str, ...]]
) -> RequestError:
    """For an object that lacks a member, or has one too many."""
    place = _join(path, name)
    if how == "missing required":
        return RequestError(f"{place} is missing.", field=place, fix=f"Send {expected.get(place, 'it')}.")
    members = ", ".join(known.get(path, ()))
    return RequestError(f"{place} is unknown.", field=place, fix=f"Leave it out. Known here: {members}.")


def _of_value(path: str, what: str, expected: Mapping[str, str], required: frozenset[str]) -> RequestError:
    """For a member whose value is `what` it must not be."""
    where = re.sub(r"\[\d+\]$", "", path)
    suffix = "." if where in required or where not in expected else ", or leave it out."
    return RequestError(
        f"{path or 'The body'}: {what[0].lower()}{what[1:].replace('`', '')}.",
        field=path,
        fix=f"Send {expected.get(where, 'another value')}{suffix}",
    )


@dataclass(frozen=True)
class _NotFinite:
    literal: str


def find_not_finite(body: bytes) -> tuple[str, str] | None:
    """Path and literal of the first NaN, Infinity or overflowing number of a JSON body; None if there is none.

    Only for bodies that msgspec refused: it gives a byte offset for NaN, and callers need the field.
    """

    def number(text: str) -> float | _NotFinite:
        value = float(text)
        return value if math.isfinite(value) else _NotFinite(shorten(text, 20))

    try:
        content = json.loads(body, parse_constant=_NotFinite, parse_float=number, parse_int=number)
    except (ValueError, RecursionError):
        return None
    stack: list[tuple[str, object]] = [("", content)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, _NotFinite):
            return path, value.literal
        if isinstance(value, dict):
            stack += [(f"{path}.{shorten(key)}".lstrip("."), item) for key, item in reversed(value.items())]
        elif isinstance(value, list):
            stack += [(f"{path}[{i}]", item) for i, item in reversed(list(enumerate(value)))]
    return None
