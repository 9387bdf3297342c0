import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pageopt.errors import ContractError
from pageopt.features.columns import Categories, Numerics, Tokens, canonical
from pageopt.features.encoder import Encoder
from pageopt.problems.fields import Field

PAGE_FIELDS = (
    Field("platform", "categorical", "page"),
    Field("hero_category", "categorical", "item"),
    Field("hero_title", "text", "item"),
    Field("hero_price", "numeric", "item"),
    Field("age", "numeric", "user"),
    Field("blurb", "text", "page"),
)
MODULE_FIELDS = (
    Field("module_id", "categorical", "module"),
    Field("family", "categorical", "module"),
    Field("ctr_log_odds", "numeric", "module"),
)
MODULES = {
    "module_id": ["m0", "m1", "m2"],
    "family": ["similar", "new", "similar"],
    "ctr_log_odds": [-3.0, -2.0, -1.0],
}


def train_pages(rows: int = 400) -> dict[str, list]:
    random = np.random.default_rng(3)
    return {
        "platform": random.choice(["web", "app", None], rows).tolist(),
        "hero_category": random.choice(["shoes", "hats", "rare"], rows, p=[0.6, 0.395, 0.005]).tolist(),
        "hero_title": random.choice(["Red Shoe", "Blue hat, XL", "red hat", None], rows).tolist(),
        "hero_price": random.lognormal(3, 1.2, rows).tolist(),
        "age": [None if value < 20 else float(value) for value in random.integers(15, 80, rows)],
        "blurb": [""] * rows,
    }


def fitted(rows: int = 400) -> Encoder:
    return Encoder.fit(
        PAGE_FIELDS,
        train_pages(rows),
        MODULE_FIELDS,
        MODULES,
        slots=4,
        min_count=5,
        title_tokens=3,
        vocabulary=100,
    )


def test_shapes_and_cardinalities() -> None:
    encoder = fitted()
    encoded = encoder.encode(train_pages())
    assert encoded.categorical.shape == (400, 2)
    assert encoded.numeric.shape == (400, 2)
    assert encoded.tokens.shape == (400, 2, 3)
    assert encoded.categorical.dtype == encoded.tokens.dtype == np.int64
    assert encoded.numeric.dtype == np.float32
    assert encoder.categories["platform"].values == ("app", "web")
    assert encoder.cardinalities[0] == 4
    assert (encoded.categorical < np.array(encoder.cardinalities)).all()
    assert encoded.tokens.max() < encoder.vocabulary_size
    assert encoder.families == ("new", "similar")
    assert encoder.module_family.tolist() == [1, 0, 1]
    assert encoder.module_categorical.shape == (3, 2)
    assert encoder.module_cardinalities == (5, 4)
    assert encoder.module_tokens.shape == (3, 0, 3)
    assert encoder.slots == 4


def test_missing_unknown_and_rare() -> None:
    encoder = fitted()
    encoded = encoder.encode(
        {
            "platform": [None, float("nan"), "", "fridge", "app"],
            "hero_category": ["rare", "hats", "hats", "hats", "hats"],
            "hero_title": [None, "", "RED unheard-of", "red red red red red", 7],
            "hero_price": [None, float("nan"), 1e30, -1e30, float("inf")],
        }
    )
    assert encoded.categorical[:, 0].tolist() == [0, 0, 0, 1, 2]
    assert encoded.categorical[0, 1] == 1
    assert encoded.tokens[:, 1].tolist() == [[0, 0, 0]] * 5
    red = encoded.tokens[2, 0, 0]
    assert red >= 2
    assert encoded.tokens[:, 0].tolist() == [[0, 0, 0], [0, 0, 0], [red, 1, 1], [red, red, red], [0, 0, 0]]
    assert encoded.numeric[:2, 0].tolist() == [0, 0]
    assert encoded.numeric[2, 0] == encoded.numeric[4, 0] > 0 > encoded.numeric[3, 0]
    assert np.isfinite(encoded.numeric).all()
    assert (encoded.numeric[:, 1] == 0).all()


def test_numbers_are_clipped_logged_and_standardised() -> None:
    random = np.random.default_rng(0)
    columns = {
        "heavy": random.lognormal(0, 1, 20_000),
        "even": random.normal(5, 2, 20_000),
        "flat": np.full(20_000, 0.1),
    }
    numerics = Numerics.fit(tuple(columns), columns)
    assert numerics.log.tolist() == [True, False, False]
    encoded = numerics.encode(columns, 20_000)
    np.testing.assert_allclose(encoded[:, :2].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(encoded[:, :2].std(axis=0), 1, atol=1e-4)
    assert (encoded[:, 2] == 0).all()
    low, high = np.quantile(columns["heavy"], [0.001, 0.999])
    clipped = np.log1p(np.clip(columns["heavy"], low, high))
    np.testing.assert_allclose(encoded[:, 0], (clipped - clipped.mean()) / clipped.std(), atol=1e-5)
    # A column that never varied says nothing, whatever a request holds.
    assert numerics.encode({"flat": [1e9]}, 1)[0, 2] == 0


def test_one_row_is_a_row_of_many() -> None:
    encoder = fitted()
    pages = train_pages()
    together = encoder.encode(pages)
    for row in range(0, 400, 37):
        alone = encoder.encode({name: [column[row]] for name, column in pages.items()})
        assert np.array_equal(alone.categorical[0], together.categorical[row])
        assert np.array_equal(alone.numeric[0], together.numeric[row])
        assert np.array_equal(alone.tokens[0], together.tokens[row])


def test_blocks_do_not_show() -> None:
    rows = 150_000
    values = np.random.default_rng(1).lognormal(0, 1, rows)
    numerics = Numerics.fit(("a",), {"a": values})
    encoded = numerics.encode({"a": values.tolist()}, rows)
    for row in (0, 65_535, 65_536, 131_072, rows - 1):
        assert encoded[row, 0] == numerics.encode({"a": [values[row]]}, 1)[0, 0]


def test_save_and_load(tmp_path) -> None:
    encoder = fitted()
    encoder.save(tmp_path / "one")
    loaded = Encoder.load(tmp_path / "one")
    loaded.save(tmp_path / "two")
    for name in ("encoder.json", "encoder.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    first, second = encoder.encode(train_pages()), loaded.encode(train_pages())
    assert np.array_equal(first.categorical, second.categorical)
    assert np.array_equal(first.numeric, second.numeric)
    assert np.array_equal(first.tokens, second.tokens)
    for name in ("page_fields", "module_fields", "cardinalities", "module_cardinalities", "families", "module_ids"):
        assert getattr(encoder, name) == getattr(loaded, name)
    assert loaded.module_tokens.shape == (3, 0, 3)


def test_a_broken_encoder_says_so(tmp_path) -> None:
    with pytest.raises(ContractError, match="Run stage prepare"):
        Encoder.load(tmp_path)
    fitted().save(tmp_path)
    (tmp_path / "encoder.safetensors").write_bytes(b"short")
    with pytest.raises(ContractError, match="Run stage prepare"):
        Encoder.load(tmp_path)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"hero_price": ["cheap"]}, "hero_price"),
        ({"platform": ["web"], "hero_price": [1.0, 2.0]}, "hero_price"),
        ({"platform": ["web", "app"], "hero_category": ["hats"]}, "hero_category"),
        ({"platform": [["web"]]}, "platform"),
        ({}, "platform"),
    ],
)
def test_bad_columns_are_named(fields, named) -> None:
    with pytest.raises(ContractError, match=named):
        fitted().encode(fields)


def test_modules_must_be_sorted() -> None:
    with pytest.raises(ContractError, match="sorted"):
        Encoder.fit(
            PAGE_FIELDS,
            train_pages(),
            MODULE_FIELDS,
            {"module_id": ["b", "a"], "family": ["f", "f"], "ctr_log_odds": [0.0, 0.0]},
            slots=2,
            min_count=1,
            title_tokens=2,
            vocabulary=5,
        )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (3.0, "3"),
        (np.float32(3), "3"),
        ("3", "3"),
        (True, "true"),
        (None, None),
        (float("nan"), None),
        ("", None),
    ],
)
def test_one_value_in_many_spellings(value, text) -> None:
    assert canonical(value) == text


def test_spellings_share_a_code() -> None:
    categories = Categories.fit([3, 3.0, "3", 4, True], min_count=1)
    assert categories.values == ("3", "4", "true")
    assert categories.encode(["3", 3, np.int64(4), "true", True, 5], 6).tolist() == [2, 2, 3, 4, 4, 1]


@given(st.lists(st.text(max_size=20) | st.none() | st.integers() | st.floats(), max_size=30))
def test_any_column_encodes_within_bounds(column) -> None:
    tokens = Tokens.fit([["red hat", "blue hat"]], length=4, size=2, min_count=1)
    codes = tokens.encode(column, len(column))
    assert codes.shape == (len(column), 4)
    assert ((codes >= 0) & (codes < tokens.size)).all()
    categories = Categories.fit(["a", "b"], min_count=1)
    assert (categories.encode(column, len(column)) < categories.cardinality).all()


def test_vocabulary_keeps_the_frequent() -> None:
    tokens = Tokens.fit([["b a", "b c", "b a", None, 3]], length=2, size=2, min_count=1)
    assert tokens.vocabulary == ("b", "a")


def test_import_is_light() -> None:
    """Serving imports the encoder: none of the heavy libraries may come with it."""
    heavy = "{'torch', 'pandas', 'pyarrow', 'ibis', 'duckdb', 'pydantic', 'scipy', 'sklearn'}"
    code = f"import sys, pageopt.features.encoder; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
