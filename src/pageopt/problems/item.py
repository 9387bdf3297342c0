"""The item page: modules from top to bottom on the page of one item, the hero (TRNN paper)."""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec

from pageopt.problems.base import UNSEEN, Problem, Rare, Subject
from pageopt.problems.fields import Field

MAX_TEXT = 512
_UNKNOWN = "unknown"

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
Price = Annotated[float, msgspec.Meta(ge=0)]


class HeroItem(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """The item that the page is about."""

    item_id: Text
    category: Text
    title: Text | None = None
    price: Price | None = None


class Page(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """One visit. Null and absent mean the same: a page id is made, the user is unknown, all modules, all slots."""

    platform: Text
    hero_item: HeroItem
    page_id: Id | None = None
    user_id: Text | None = None
    candidates: list[Text] | None = None
    slots: int | None = None
    features: dict[str, Any] | None = None


EXPECTED = {
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
"""What to send at each path of the body."""


class Shown(msgspec.Struct, frozen=True):
    """One slot of the answer. Probabilities are null where the static page stood in for the model."""

    slot: int
    module_id: str
    family: str
    p_click: float | None
    p_intent: float | None
    p_purchase: float | None
    propensity: float


class Answer(msgspec.Struct, frozen=True):
    """The body of the answer of /rank_page; `page_score` is null where the static page stood in for the model."""

    page_id: str
    modules: list[Shown]
    page_score: float | None
    policy: str
    model_version: str
    degraded: bool


def _raw(page: Page) -> dict[str, Any]:
    hero = page.hero_item
    return {
        **(page.features or {}),
        "page_id": page.page_id,
        "user_id": page.user_id,
        "platform": page.platform,
        "hero_item_id": hero.item_id,
        "hero_category": hero.category,
        "hero_title": hero.title,
        "hero_price": hero.price,
    }


def _request(raw: Mapping[str, Any], declared: Iterable[str]) -> Page:
    """What a request must name and the columns lack is said to be unknown."""

    def value(name: str, otherwise: str | None = None) -> Any:
        given = raw.get(name)
        missing = given is None or (isinstance(given, float) and not math.isfinite(given))
        return otherwise if missing else given

    features = {name: value(name) for name in declared if value(name) is not None}
    return Page(
        platform=value("platform", _UNKNOWN),
        hero_item=HeroItem(
            item_id=value("hero_item_id", _UNKNOWN),
            category=value("hero_category", _UNKNOWN),
            title=value("hero_title"),
            price=value("hero_price"),
        ),
        page_id=value("page_id"),
        user_id=value("user_id"),
        features=features or None,
    )


ITEM = Problem(
    name="item",
    fields=(
        Field("platform", "categorical", "page"),
        Field("hero_category", "categorical", "item"),
        Field("hero_title", "text", "item"),
        Field("hero_price", "numeric", "item"),
    ),
    subject=Subject(
        called="hero item",
        table="items",
        key="item_id",
        named="hero_item_id",
        columns={"hero_category": "category", "hero_title": "title", "hero_price": "price"},
    ),
    category="hero_category",
    rare=(
        Rare("platform", 0.02, UNSEEN),
        Rare("hero_category", 0.03, UNSEEN),
        Rare("hero_title", 0.05, None),
        Rare("hero_price", 0.05, None),
    ),
    raw=_raw,
    request=_request,
)
