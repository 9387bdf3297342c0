"""What a body of /rank_page may hold. What cannot be answered becomes a RequestError that names the field."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NoReturn

import msgspec

from pageopt.errors import RequestError

MAX_PAGE_BYTES = 256 * 1024
MAX_TEXT = 512
MAX_FEATURES = 200

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
Price = Annotated[float, msgspec.Meta(ge=0)]


class HeroItem(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The item that the page is about."""

    item_id: Text
    category: Text
    title: Text | None = None
    price: Price | None = None


class Page(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One visit. Null and absent mean the same: a page id is made, the user is unknown, all modules, all slots."""

    platform: Text
    hero_item: HeroItem
    page_id: Id | None = None
    user_id: Text | None = None
    candidates: list[Text] | None = None
    slots: int | None = None
    features: dict[str, Any] | None = None


class RankPage(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of POST /rank_page."""

    page: Page


@dataclass(frozen=True)
class Limits:
    """What the served model can answer: its slots, its longest list of candidates, its declared features by kind."""

    slots: int
    max_candidates: int = 1000
    features: Mapping[str, str] = field(default_factory=dict)


_EXPECTED = {
    "": 'a JSON object such as {"page": {"platform": "web", "hero_item": {"item_id": "i1", "category": "shoes"}}}',
    "page": "an object with at least platform and hero_item",
    "page.page_id": f"a string of 1 to {MAX_TEXT} characters",
    "page.user_id": f"a string of at most {MAX_TEXT} characters",
    "page.platform": f"a string of at most {MAX_TEXT} characters",
    "page.hero_item": "an object with item_id and category, and title and price where known",
    "page.hero_item.item_id": f"a string of at most {MAX_TEXT} characters",
    "page.hero_item.category": f"a string of at most {MAX_TEXT} characters",
    "page.hero_item.title": f"a string of at most {MAX_TEXT} characters",
    "page.hero_item.price": "a finite number that is not negative",
    "page.candidates": f"a list of module ids, each a string of at most {MAX_TEXT} characters",
    "page.slots": "a whole number",
    "page.features": "an object of declared features and their values",
}
_REQUIRED = frozenset(
    {"", "page", "page.platform", "page.hero_item", "page.hero_item.item_id", "page.hero_item.category"}
)
_KNOWN = {
    "": RankPage.__struct_fields__,
    "page": Page.__struct_fields__,
    "page.hero_item": HeroItem.__struct_fields__,
}
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
        refuse(body, error, _EXPECTED, _REQUIRED, _KNOWN)
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
        place = f"page.features.{shorten(name)}"
        kind = limits.features.get(name)
        if kind is None:
            known = ", ".join(sorted(limits.features)) or "none"
            raise RequestError(
                f"{place} is not a feature of the model.",
                field=place,
                fix=f"Leave it out. Known features: {known}.",
            )
        if value is None:
            continue
        if kind == "numeric":
            # msgspec lets whole numbers through that no float can hold.
            fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1.7e308
            if not fits:
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
        name = shorten(member["name"])
        place = f"{path}.{name}".lstrip(".")
        if member["how"] == "missing required":
            hint = expected.get(place, "it")
            raise RequestError(f"{place} is missing.", field=place, fix=f"Send {hint}.") from None
        members = ", ".join(known.get(path, ()))
        raise RequestError(f"{place} is unknown.", field=place, fix=f"Leave it out. Known here: {members}.") from None
    where = re.sub(r"\[\d+\]$", "", path)
    hint = expected.get(where, "another value")
    suffix = "." if where in required or where not in expected else ", or leave it out."
    raise RequestError(f"{path or 'The body'}: {_readable(what)}.", field=path, fix=f"Send {hint}{suffix}") from None


def _readable(what: str) -> str:
    return what[0].lower() + what[1:].replace("`", "")


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
