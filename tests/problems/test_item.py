"""A page of the item problem is the same page as a request and as raw columns."""

import json
import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pageopt.problems.item import ITEM, HeroItem, Page

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PRICE = st.floats(0, 1e12)
KINDS = {"season": TEXT, "age": st.floats(allow_nan=False, allow_infinity=False), "note": TEXT, "member": st.booleans()}
FEATURES = st.fixed_dictionaries({}, optional=KINDS)
REQUESTS = st.builds(
    Page,
    platform=TEXT,
    hero_item=st.builds(HeroItem, item_id=TEXT, category=TEXT, title=st.none() | TEXT, price=st.none() | PRICE),
    page_id=st.none() | TEXT.filter(bool),
    user_id=st.none() | TEXT,
    features=FEATURES.map(lambda features: features or None),
)
ROWS = st.fixed_dictionaries(
    {
        "page_id": st.none() | TEXT.filter(bool),
        "user_id": st.none() | TEXT,
        "platform": TEXT,
        "hero_item_id": TEXT,
        "hero_category": TEXT,
        "hero_title": st.none() | TEXT,
        "hero_price": st.none() | PRICE,
    },
    optional=KINDS,
)


@given(REQUESTS)
def test_a_request_comes_back_from_its_raw_columns(page: Page) -> None:
    assert ITEM.request(ITEM.raw(page), KINDS) == page


@given(ROWS)
def test_raw_columns_come_back_from_their_request(row: dict) -> None:
    assert ITEM.raw(ITEM.request(row, KINDS)) == row


@given(REQUESTS)
def test_a_request_survives_json_without_saying_what_is_absent(page: Page) -> None:
    body = msgspec.json.encode(page)
    said = json.loads(body)
    assert None not in [*said.values(), *said["hero_item"].values()]
    assert msgspec.json.decode(body, type=Page) == page


def test_what_logs_lack_is_missing_or_unknown_in_a_request() -> None:
    nothing = dict.fromkeys(ITEM.raw(ITEM.request({}, ())))
    for missing in (nothing, nothing | {"hero_price": math.nan, "age": math.nan}):
        page = ITEM.request(missing, ("age",))
        assert page == Page(platform="unknown", hero_item=HeroItem(item_id="unknown", category="unknown"))


def test_every_field_and_every_rare_case_is_a_raw_column() -> None:
    columns = {*ITEM.raw(ITEM.request({}, ())), "ts", "policy"}
    named = {*ITEM.identity, ITEM.category, *ITEM.subject.columns, *(rare.column for rare in ITEM.rare)}
    assert {field.name for field in ITEM.fields} | named == columns
    assert {f.name for f in ITEM.fields if f.source == "item"} == set(ITEM.subject.columns)
