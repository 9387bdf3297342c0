from datetime import UTC, datetime

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pageopt import contract
from pageopt.config import FeatureColumn, FeatureParams
from pageopt.errors import ConfigError, ContractError

TIME = datetime(2024, 1, 1, tzinfo=UTC)
EVENT = {"event_id": "e1", "ts": TIME, "user_id": None, "kind": "click", "page_id": "p", "module_id": "m", "slot": 1}
EVENT |= {"item_id": None, "price": 1.0}
PAGE = {"page_id": "p", "user_id": None, "ts": TIME, "platform": "web", "hero_item_id": "i", "policy": "random"}
PAGE |= {"candidates": ["m", "n"]}


@pytest.fixture
def rows(tmp_path):
    """Rows of a table as an Ibis table on DuckDB, whether or not they keep the contract."""
    connection = ibis.duckdb.connect()
    connection.raw_sql("SET TimeZone = 'UTC'")

    def make(table: contract.Table, *given: dict[str, object]):
        schema = pa.schema([field.with_nullable(True) for field in table.arrow_schema])
        pq.write_table(pa.Table.from_pylist(list(given), schema), tmp_path / "rows.parquet")
        return connection.read_parquet(tmp_path / "rows.parquet")

    yield make
    connection.disconnect()


def test_good_rows_keep_the_contract(rows):
    contract.validate(contract.EVENTS, rows(contract.EVENTS, EVENT, EVENT | {"event_id": "e2", "slot": None}), slots=3)
    contract.validate(contract.PAGES, rows(contract.PAGES, PAGE))


def test_an_empty_table_keeps_the_contract_if_its_types_do(rows):
    empty = rows(contract.EVENTS)
    contract.validate(contract.EVENTS, empty)
    with pytest.raises(ContractError, match="price is missing, should be float64"):
        contract.validate(contract.EVENTS, empty.drop("price"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"price": float("nan")}, "price"),
        ({"price": float("inf")}, "price"),
        ({"price": -1.0}, "price"),
        ({"slot": 0}, "slot"),
        ({"slot": 4}, "slot"),
        ({"kind": "hover"}, "kind"),
        ({"kind": None}, "kind"),
        ({"event_id": None}, "event_id"),
        ({"event_id": "e1"}, r"unique \(event_id\)"),
    ],
)
def test_a_bad_value_breaks_the_contract(rows, change, complaint):
    bad = rows(contract.EVENTS, EVENT, EVENT | {"event_id": "e2"} | change)
    with pytest.raises(ContractError, match=complaint):
        contract.validate(contract.EVENTS, bad, slots=3)


def test_a_wrong_type_breaks_the_contract_and_is_named(rows):
    table = rows(contract.EVENTS, EVENT)
    with pytest.raises(ContractError, match="slot is int64, should be int32"):
        contract.validate(contract.EVENTS, table.mutate(slot=table.slot.cast("int64")))
    with pytest.raises(ContractError, match="z is int8, should be absent"):
        contract.validate(contract.EVENTS, table.mutate(z=ibis.literal(1)))


def test_declared_columns_extend_their_table():
    features = FeatureParams(
        pages=(FeatureColumn(name="weather", kind="categorical"),),
        items=(FeatureColumn(name="rating", kind="numeric"),),
        users=(FeatureColumn(name="bio", kind="text"),),
    )
    tables = contract.tables(features)
    assert tables["pages"].names == (*contract.PAGES.names, "weather")
    assert tables["items"].arrow_schema.field("rating").type == pa.float64()
    assert tables["users"].arrow_schema.field("bio").type == pa.string()
    assert tables["pages"].required == contract.PAGES.required
    assert not tables["users"].optional
    assert contract.tables(FeatureParams())["users"].optional


def test_a_declared_column_must_not_be_one_of_the_contract():
    with pytest.raises(ConfigError, match=r"features\.items \['brand'\]"):
        contract.tables(FeatureParams(items=(FeatureColumn(name="brand", kind="categorical"),)))


def test_a_declared_column_of_a_known_name_in_another_table_keeps_its_own_meaning(rows):
    """`price` of pages is no price of the contract; it may be negative."""
    pages = contract.tables(FeatureParams(pages=(FeatureColumn(name="price", kind="numeric"),)))["pages"]
    contract.validate(pages, rows(pages, PAGE | {"price": -3.0}))
