from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from pageopt.simulator.tables import SCHEMAS


@pytest.fixture(scope="module")
def log(make_shop, tmp_path_factory) -> duckdb.DuckDBPyConnection:
    folder = tmp_path_factory.mktemp("raw")
    written = make_shop(pages=8000).write(folder)
    connection = duckdb.connect()
    connection.execute("SET timezone = 'UTC'")
    for name in SCHEMAS:
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{folder}/{name}/*.parquet')")
        assert connection.sql(f"SELECT count(*) FROM {name}").fetchone() == (written.rows[name],)
    connection.execute(f"CREATE TABLE folder AS SELECT '{folder}' AS path")
    return connection


def none(log: duckdb.DuckDBPyConnection, query: str) -> bool:
    return log.sql(f"SELECT count(*) FROM ({query})").fetchone() == (0,)


def test_columns_and_types_are_the_contract(log) -> None:
    folder = Path(log.sql("SELECT path FROM folder").fetchone()[0])
    for name, schema in SCHEMAS.items():
        for part in (folder / name).glob("*.parquet"):
            found = pq.read_schema(part)
            assert found.names == schema.names
            for field in schema:
                # The name of a list's element is not part of the contract.
                assert str(found.field(field.name).type).replace("element", "item") == str(field.type).replace(
                    "element", "item"
                ), (name, field.name)


def test_keys_are_unique_and_known(log) -> None:
    for table, key in (("pages", "page_id"), ("items", "item_id"), ("modules", "module_id"), ("events", "event_id")):
        assert none(log, f"SELECT {key} FROM {table} GROUP BY 1 HAVING count(*) > 1 OR {key} IS NULL")
    assert none(log, "SELECT page_id, slot FROM impressions GROUP BY 1, 2 HAVING count(*) > 1")
    assert none(log, "FROM impressions ANTI JOIN pages USING (page_id)")
    assert none(log, "FROM impressions ANTI JOIN modules USING (module_id)")
    assert none(log, "FROM pages ANTI JOIN items ON hero_item_id = item_id")
    assert none(log, "FROM events ANTI JOIN items USING (item_id)")
    assert none(log, "FROM events WHERE page_id IS NOT NULL AND page_id NOT IN (SELECT page_id FROM pages)")
    assert none(log, "FROM pages ANTI JOIN truth USING (page_id)")


def test_shown_modules_are_candidates_with_a_propensity(log) -> None:
    assert none(
        log,
        "FROM impressions JOIN pages USING (page_id) WHERE NOT list_contains(candidates, module_id) "
        "OR propensity IS NULL OR propensity <= 0 OR propensity > 1 OR slot NOT BETWEEN 1 AND 4",
    )
    assert none(
        log,
        "FROM impressions JOIN pages USING (page_id) "
        "WHERE policy = 'random' AND abs(propensity - 1 / len(candidates)) > 1e-12",
    )


def test_traffic_has_the_shares_asked_for(log) -> None:
    shares = dict(log.sql("SELECT policy, count(*) / 8000 FROM pages GROUP BY 1").fetchall())
    assert shares == pytest.approx({"random": 0.4, "thompson": 0.4, "production": 0.2}, abs=0.025)


def test_events_follow_their_page_and_agree_with_it(log) -> None:
    assert none(log, "FROM events e JOIN pages p USING (page_id) WHERE e.ts <= p.ts")
    assert none(log, "FROM events e JOIN pages p USING (page_id) WHERE e.user_id IS DISTINCT FROM p.user_id")
    assert none(
        log, "FROM events e ANTI JOIN impressions i USING (page_id, module_id, slot) WHERE e.module_id IS NOT NULL"
    )
    assert none(log, "FROM events WHERE kind != 'purchase' AND (page_id IS NULL OR module_id IS NULL OR slot IS NULL)")
    assert none(log, "FROM events e JOIN items i USING (item_id) WHERE e.price != i.price")
    kinds = dict(log.sql("SELECT kind, count(*) FROM events GROUP BY 1").fetchall())
    assert set(kinds) == {"click", "watch", "cart", "purchase"}
    assert 0.05 < kinds["purchase"] / kinds["click"] < 0.25


def test_purchases_are_traced_by_user_and_item(log) -> None:
    known = "FROM events b WHERE kind = 'purchase' AND user_id IS NOT NULL"
    assert none(log, f"{known} AND module_id IS NOT NULL")
    assert none(
        log,
        f"{known} AND NOT EXISTS (FROM events c WHERE c.kind = 'click' AND c.user_id = b.user_id "
        "AND c.item_id = b.item_id AND c.ts < b.ts)",
    )
    some = log.sql(f"SELECT avg((page_id IS NOT NULL)::INT) {known}").fetchone()[0]
    assert 0.02 < some < 0.5
    assert none(
        log,
        "FROM events b JOIN events c ON b.page_id = c.page_id AND b.item_id = c.item_id "
        "WHERE b.kind = 'purchase' AND b.user_id IS NOT NULL AND c.kind = 'click' AND c.ts > b.ts",
    )


def test_anonymous_visits_have_no_user_and_only_quick_purchases_are_traceable(log) -> None:
    share = log.sql("SELECT avg((user_id IS NULL)::INT) FROM pages").fetchone()[0]
    assert 0.01 < share < 0.08
    assert none(
        log,
        "FROM events WHERE kind = 'purchase' AND user_id IS NULL AND (page_id IS NULL) != (module_id IS NULL)",
    )


SNAPSHOTS = """
    SELECT date_trunc('day', p.ts) AS ts, category AS segment, platform, module_id, slot, propensity
    FROM impressions JOIN pages p USING (page_id) JOIN items ON hero_item_id = item_id WHERE policy = 'thompson'
"""


def test_thompsons_propensities_are_those_of_the_days_snapshot(log) -> None:
    key = "(ts, segment, platform, module_id, slot)"
    assert none(log, f"SELECT 1 FROM exploration GROUP BY {key[1:-1]} HAVING count(*) > 1")
    assert none(log, f"FROM ({SNAPSHOTS}) ANTI JOIN exploration USING {key}")
    assert none(log, f"FROM ({SNAPSHOTS}) JOIN exploration USING {key} WHERE propensity != probability")


def test_only_snapshots_in_use_are_kept_and_their_slots_sum_to_one(log) -> None:
    key = "(ts, segment, platform)"
    assert none(log, f"FROM exploration ANTI JOIN ({SNAPSHOTS}) USING {key}")
    worst = log.sql(
        "SELECT max(abs(total - 1)) FROM (SELECT sum(probability) AS total FROM exploration "
        "GROUP BY ts, segment, platform, slot)"
    ).fetchone()[0]
    assert worst < 16 / 4000  # a module that no drawn ranking showed counts as half a ranking of 2,000
    assert log.sql("SELECT count(*) FROM exploration").fetchone()[0] <= 3 * 12 * 12 * 4


def test_snapshots_hold_the_posterior_of_earlier_exploration(log) -> None:
    """α and β from the log itself: clicks and views on random and Thompson pages of earlier days, in the segment."""
    counted = """
        SELECT date_trunc('day', p.ts) AS day, category AS segment, i.module_id, count(*) AS views, count(e.event_id) AS
        clicks FROM impressions i JOIN pages p USING (page_id) JOIN items ON hero_item_id = items.item_id
        LEFT JOIN events e ON e.page_id = i.page_id AND e.module_id = i.module_id AND e.kind = 'click'
        WHERE policy != 'production' GROUP BY ALL
    """
    expected = f"""
        SELECT x.ts, x.segment, x.platform, x.module_id, x.slot, any_value(x.alpha) AS alpha, any_value(x.beta) AS beta,
        1 + coalesce(sum(c.clicks), 0) AS a, 99 + coalesce(sum(c.views - c.clicks), 0) AS b
        FROM exploration x LEFT JOIN ({counted}) c
        ON c.segment = x.segment AND c.module_id = x.module_id AND c.day < x.ts GROUP BY ALL
    """
    assert none(log, f"FROM ({expected}) WHERE alpha != a OR beta != b")
    assert log.sql("SELECT max(alpha) FROM exploration").fetchone()[0] > 10
