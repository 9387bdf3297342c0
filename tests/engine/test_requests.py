import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pageopt.engine.requests import Limits, find_not_finite, parse_page
from pageopt.errors import RequestError

LIMITS = Limits(slots=4, max_candidates=3, features={"season": "categorical", "age": "numeric", "note": "text"})


def refused(body: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse_page(body, LIMITS)
    assert str(caught.value).endswith(".")
    assert caught.value.fix.endswith(".")
    return caught.value


def body(page: str = "", hero: str = "") -> bytes:
    return f'{{"page":{{"platform":"web","hero_item":{{"item_id":"i","category":"c"{hero}}}{page}}}}}'.encode()


def test_a_page_with_only_what_it_must_have() -> None:
    page = parse_page(body(), LIMITS)
    assert (page.page_id, page.user_id, page.candidates, page.slots, page.features) == (None,) * 5
    assert (page.hero_item.title, page.hero_item.price) == (None, None)


def test_null_means_absent() -> None:
    nothing = ',"page_id":null,"user_id":null,"candidates":null,"slots":null,"features":null'
    assert parse_page(body(nothing, ',"title":null,"price":null'), LIMITS) == parse_page(body(), LIMITS)


def test_whole_numbers_are_prices_and_features() -> None:
    page = parse_page(body(',"features":{"age":3,"season":4,"note":null}', ',"price":20'), LIMITS)
    assert page.hero_item.price == 20.0
    assert page.features == {"age": 3, "season": 4, "note": None}


@pytest.mark.parametrize(
    ("content", "field", "says"),
    [
        (b"", "", "not valid JSON"),
        (b"null", "", "object"),
        (b"[]", "", "object"),
        (b'{"page"', "", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "", "not valid JSON"),
        (body(hero=',"title":"\xff"').decode().encode("latin-1"), "", "UTF-8"),
        (body(hero=r',"title":"\ud800"'), "", "not valid JSON"),
        (b"{}", "page", "missing"),
        (b'{"oops":1}', "oops", "unknown"),
        (b'{"page":{"hero_item":{"item_id":"i","category":"c"}}}', "page.platform", "missing"),
        (b'{"page":{"platform":"web"}}', "page.hero_item", "missing"),
        (b'{"page":{"platform":"web","hero_item":{"item_id":"i"}}}', "page.hero_item.category", "missing"),
        (body(',"oops":1'), "page.oops", "unknown"),
        (body(hero=',"oops":1'), "page.hero_item.oops", "unknown"),
        (body(',"page_id":""'), "page.page_id", "length"),
        (body(',"user_id":7'), "page.user_id", "str"),
        (body(f',"user_id":"{"x" * 513}"'), "page.user_id", "512"),
        (body(hero=',"price":"20"'), "page.hero_item.price", "float"),
        (body(hero=',"price":true'), "page.hero_item.price", "float"),
        (body(hero=',"price":-1'), "page.hero_item.price", ">= 0"),
        (body(hero=',"price":NaN'), "page.hero_item.price", "NaN"),
        (body(hero=',"price":Infinity'), "page.hero_item.price", "Infinity"),
        (body(hero=',"price":1e999'), "page.hero_item.price", "1e999"),
        (body(f',"features":{{"age":{"9" * 5000}}}'), "page.features.age", "finite"),
        (body(f',"features":{{"age":{"9" * 400}}}'), "page.features.age", "finite"),
        (body(',"features":{"age":-Infinity}'), "page.features.age", "-Infinity"),
        (body(',"features":{"age":"3"}'), "page.features.age", "number"),
        (body(',"features":{"age":false}'), "page.features.age", "number"),
        (body(',"features":{"season":[1]}'), "page.features.season", "plain value"),
        (body(f',"features":{{"season":"{"x" * 513}"}}'), "page.features.season", "513"),
        (body(',"features":{"note":3}'), "page.features.note", "string"),
        (body(',"features":{"oops":1}'), "page.features.oops", "not a feature"),
        (body(',"features":[]'), "page.features", "object"),
        (body(',"features":{"age":' + "[" * 5000 + "]" * 5000 + "}"), "", "nested"),
        (body(',"slots":0'), "page.slots", "slots 1 to 4"),
        (body(',"slots":5'), "page.slots", "slots 1 to 4"),
        (body(',"slots":' + "9" * 400), "page.slots", "slots 1 to 4"),
        (body(',"slots":2.5'), "page.slots", "int"),
        (body(',"slots":true'), "page.slots", "int"),
        (body(',"candidates":"m1"'), "page.candidates", "array"),
        (body(',"candidates":["m1",2]'), "page.candidates[1]", "str"),
        (body(',"candidates":["a","b","c","d"]'), "page.candidates", "more than 3"),
    ],
)
def test_what_cannot_be_answered_names_its_field(content: bytes, field: str, says: str) -> None:
    error = refused(content)
    assert (error.field, error.status) == (field, 400)
    assert says in str(error)


def test_an_unknown_feature_is_told_the_known_ones() -> None:
    assert "age, note, season" in refused(body(',"features":{"oops":1}')).fix


def test_too_many_features() -> None:
    many = json.dumps({f"f{i}": 1 for i in range(201)})
    assert refused(body(f',"features":{many}')).field == "page.features"


def test_what_callers_sent_is_told_only_in_part() -> None:
    assert len(str(refused(body(f',"{"x" * 9000}":1')))) < 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc.[]", max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_finite_json_holds_nothing_that_is_not_finite(value: object) -> None:
    assert find_not_finite(json.dumps(value).encode()) is None


def test_the_first_number_that_is_not_finite_is_found() -> None:
    assert find_not_finite(b'{"a":[1,{"b":2}],"c":[0,[NaN]],"d":Infinity}') == ("c[1][0]", "NaN")
    assert find_not_finite(b"NaN and no JSON") is None
