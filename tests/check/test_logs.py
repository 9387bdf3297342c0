import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pageopt.config import FeatureColumn, FeatureParams
from pageopt.contract import TABLES
from pageopt.errors import ContractError


def reasons(rows) -> dict[str, str]:
    return {key: reason for key, reason, _ in rows}


def test_clean_log_goes_through_whole(log, check, checked, quarantine):
    result = check(log)
    assert result.rows == {"modules": 6, "items": 4, "pages": 400, "impressions": 1200, "events": 40}
    assert result.bad_share == 0
    assert result.slots == 3
    assert result.first_page_ts == "2024-03-01T12:00:00+00:00"
    assert result.last_event_ts == "2024-03-01T18:30:20+00:00"
    for name, frame in log.items():
        assert quarantine(name) == []
        given = frame.sort_values(["page_id", "slot"] if name == "impressions" else frame.columns[0])
        found = checked(name)
        assert list(found.columns) == list(TABLES[name].names)
        for column in found.columns:
            left, right = found[column].tolist(), given[column].tolist()
            if column == "candidates":
                left, right = [list(x) for x in left], [list(x) for x in right]
            assert [None if pd.api.types.is_scalar(x) and pd.isna(x) else x for x in left] == [
                None if pd.api.types.is_scalar(x) and pd.isna(x) else x for x in right
            ], column


def test_checked_files_have_the_contracts_types(log, check, tmp_path):
    log["impressions"]["slot"] = log["impressions"]["slot"].astype("int8")
    check(log)
    for name in log:
        schema = pq.read_schema(next((tmp_path / "checked" / name).glob("*.parquet")))
        assert {f.name: str(f.type).replace("element", "item") for f in schema} == {
            f.name: str(f.type) for f in TABLES[name].arrow_schema
        }


def test_every_kind_of_bad_row_in_one_log_is_named_and_the_run_goes_on(log, check, checked, quarantine, tmp_path):
    """Each planted row breaks one rule; everything else must stay."""
    clean = {name: len(frame) for name, frame in log.items()}
    early, late = pd.Timestamp("2024-02-01", tz="UTC"), pd.Timestamp("2024-05-01", tz="UTC")
    planted = {
        "modules": [
            ({"module_id": "m1", "theme": "again"}, "duplicate module_id"),
            ({"module_id": "mx", "family": None}, "missing value (family)"),
        ],
        "items": [
            ({"item_id": "i-nan", "price": math.nan}, "NaN price"),
            ({"item_id": "i-inf", "price": math.inf}, "NaN price"),
            ({"item_id": "i-neg", "price": -0.01}, "negative price"),
            ({"item_id": "i1"}, "duplicate item_id"),
        ],
        "pages": [
            ({"page_id": "p-hero", "hero_item_id": "i-neg"}, "unknown hero item"),
            ({"page_id": "p-module", "candidates": ["m0", "nowhere"]}, "unknown module"),
            ({"page_id": "p-null", "candidates": ["m0", None]}, "unknown module"),
            ({"page_id": "p-twice", "candidates": ["m0", "m1", "m0"]}, "repeated candidate"),
            ({"page_id": "p-time", "ts": None}, "missing value (ts)"),
            ({"page_id": "p001", "ts": late}, "duplicate page_id"),
            ({"page_id": None}, "missing value (page_id)"),
        ],
        "impressions": [
            ({"page_id": "nowhere"}, "impression of an unknown page"),
            ({"page_id": "p-twice"}, "impression of an unknown page"),
            ({"page_id": "p002", "module_id": "nowhere"}, "unknown module"),
            ({"page_id": "p003", "slot": 0}, "slot out of range"),
            ({"page_id": "p004", "slot": 4}, "slot out of range"),
            ({"page_id": "p005", "slot": -1}, "slot out of range"),
            ({"page_id": "p006", "module_id": "m5"}, "module not among the page's candidates"),
            ({"page_id": "p007", "propensity": 0.0}, "propensity outside (0, 1]"),
            ({"page_id": "p008", "propensity": 1.01}, "propensity outside (0, 1]"),
            ({"page_id": "p009", "propensity": math.nan}, "propensity outside (0, 1]"),
            ({"page_id": "p010"}, "duplicate (page_id, slot)"),
            ({"page_id": "p011", "module_id": None}, "missing value (module_id)"),
        ],
        "events": [
            ({"event_id": "e010", "ts": late}, "duplicate event_id"),
            ({"event_id": "x-early", "ts": early}, "event before its page"),
            ({"event_id": "x-page", "page_id": "nowhere"}, "event of an unknown page"),
            ({"event_id": "x-module", "module_id": "nowhere"}, "unknown module"),
            ({"event_id": "x-slot", "slot": 9}, "slot out of range"),
            ({"event_id": "x-kind", "kind": "hover"}, "unknown kind"),
            ({"event_id": "x-nan", "price": math.nan}, "NaN price"),
            ({"event_id": "x-neg", "price": -3.0}, "negative price"),
            ({"event_id": "x-null", "kind": None}, "missing value (kind)"),
        ],
    }
    for name, rows in planted.items():
        schema = pa.schema([field.with_nullable(True) for field in TABLES[name].arrow_schema])
        good = pa.Table.from_pandas(log[name], preserve_index=False).cast(schema)
        first = good.slice(0, 1).to_pylist()[0]
        table = pa.concat_tables([good, pa.Table.from_pylist([{**first, **row} for row, _ in rows], schema)])
        (tmp_path / "raw" / name).mkdir(parents=True)
        pq.write_table(table, tmp_path / "raw" / name / "part-0.parquet")

    result = check(None)

    for name, rows in planted.items():
        assert result.rows[name] == clean[name], name
        assert result.quarantined[name] == Counter(reason for _, reason in rows), name
        found = quarantine(name)
        assert [reason for _, reason, _ in found] == [reason for _, reason in rows], "in the order of the source"
        for (_, _, row), (given, _) in zip(found, rows, strict=True):
            for column, value in given.items():
                if isinstance(value, pd.Timestamp):
                    assert pd.Timestamp(row[column]) == value
                elif isinstance(value, float) and not math.isfinite(value):
                    assert float(row[column]) == pytest.approx(value, nan_ok=True)
                else:
                    assert row[column] == value
    assert checked("pages").set_index("page_id").ts["p001"] < late
    assert checked("modules").set_index("module_id").theme["m1"] == "t"


def test_no_row_is_lost_whatever_is_in_the_log(log, check, tmp_path):
    """Random damage to every column: rows in = rows good + rows quarantined, table by table."""
    random = np.random.default_rng(5)
    rows_in = {}
    for name, frame in log.items():
        frame = pd.concat([frame, frame.sample(frac=0.3, random_state=1)], ignore_index=True)
        damaged = frame.astype(object)
        for column in frame.columns:
            hit = random.random(len(frame)) < 0.05
            values = [None, "nonsense", "7", "-1", "NaN", "2024-03-01T12:00:00"]
            if column == "candidates":
                damaged[column] = [
                    ["m0", str(value)] if bad else value for bad, value in zip(hit, frame[column], strict=True)
                ]
            else:
                texts = frame[column].astype(str).tolist()
                damaged[column] = [
                    values[random.integers(6)] if bad else text for bad, text in zip(hit, texts, strict=True)
                ]
        log[name] = damaged
        rows_in[name] = len(damaged)
    result = check(log, slots=3)
    for name in log:
        quarantined = sum(result.quarantined[name].values())
        on_disk = sum(pq.read_metadata(f).num_rows for f in (tmp_path / "quarantine" / name).glob("*.parquet"))
        assert on_disk == quarantined > 0
        assert rows_in[name] == result.rows[name] + quarantined
        assert pq.read_table(tmp_path / "checked" / name).num_rows == result.rows[name]
    assert 0 < result.bad_share < 1


def test_values_that_do_not_convert_are_bad_and_the_others_convert(log, check, checked, quarantine):
    events = log["events"].astype({"price": str, "slot": str, "ts": str})
    events.loc[0, "price"] = "cheap"
    events.loc[1, "slot"] = "1.5"
    events.loc[2, "ts"] = "yesterday"
    events.loc[3, "slot"] = "top"
    log["events"] = events
    result = check(log)
    assert result.quarantined["events"] == {"bad type (slot)": 2, "bad type (price)": 1, "bad type (ts)": 1}
    assert result.rows["events"] == 36
    found = checked("events")
    assert set(found.price) == {3.5}
    assert found.ts[0] == pd.Timestamp("2024-03-01T12:40:20Z")
    assert reasons(quarantine("events"))["e000"] == "bad type (price)"


def test_numbers_serve_as_identifiers_even_after_pandas_made_them_floats(log, check, checked):
    log["pages"]["user_id"] = [float(i % 7) if i % 3 else np.nan for i in range(400)]
    log["events"]["user_id"] = pd.array([i % 7 for i in range(40)], "int64")
    result = check(log)
    assert result.bad_share == 0
    assert set(checked("pages").user_id.dropna()) == set(checked("events").user_id) == set("0123456")
    assert checked("pages").user_id.isna().sum() == 134


def test_bare_numbers_are_no_times(log, check):
    log["events"]["ts"] = log["events"]["ts"].astype("int64")
    assert check(log).quarantined["events"] == {"bad type (ts)": 40}


@pytest.mark.parametrize("column", ["impressions.propensity", "events.price", "items.price"])
def test_a_single_nan_is_found_although_the_statistics_of_parquet_hide_it(log, write, check, tmp_path, column):
    table, name = column.split(".")
    write(log, tmp_path / "raw")
    path = tmp_path / "raw" / table / "part-0.parquet"
    rows = pq.read_table(path)
    values = pa.array([math.nan, *[0.5] * (len(rows) - 1)])
    pq.write_table(rows.set_column(rows.schema.get_field_index(name), name, values), path)
    result = check(None)
    expected = {"propensity": "propensity outside (0, 1]", "price": "NaN price"}[name]
    assert result.quarantined[table] == {expected: 1}


def test_times_of_any_unit_and_zone_become_utc(log, check, checked, tmp_path):
    pages = log["pages"].copy()
    log["pages"] = pages.assign(ts=pages.ts.dt.tz_convert("Asia/Tokyo").dt.as_unit("ms"))
    log["events"] = log["events"].assign(ts=log["events"].ts.dt.tz_localize(None).dt.as_unit("ns"))
    assert check(log).bad_share == 0
    assert checked("pages").ts.tolist() == pages.ts.tolist()
    assert checked("events").ts[0] == pd.Timestamp("2024-03-01T12:00:20Z")


def test_of_equal_event_ids_the_earliest_stays(log, check, checked):
    first = log["events"].iloc[5]
    earlier = first.ts - pd.Timedelta(seconds=5)
    log["events"] = pd.concat([log["events"], first.to_frame().T.assign(ts=earlier)], ignore_index=True)
    log["events"]["ts"] = pd.to_datetime(log["events"]["ts"], utc=True)
    log["events"]["slot"] = log["events"]["slot"].astype(int)
    assert check(log).quarantined["events"] == {"duplicate event_id": 1}
    assert checked("events").set_index("event_id").ts[first.event_id] == earlier


def test_a_bad_row_does_not_take_the_place_of_a_good_one_with_its_key(log, check, checked):
    copy = log["impressions"].iloc[[0]].assign(propensity=7.0)
    log["impressions"] = pd.concat([copy, log["impressions"]], ignore_index=True)
    result = check(log)
    assert result.quarantined["impressions"] == {"propensity outside (0, 1]": 1}
    assert result.rows["impressions"] == 1200


def test_rows_come_out_in_order_of_time_whatever_the_order_of_the_source(log, check, checked):
    for name in log:
        log[name] = log[name].sample(frac=1, random_state=3).reset_index(drop=True)
    check(log)
    assert checked("events").event_id.is_monotonic_increasing
    pages, impressions = checked("pages"), checked("impressions")
    assert pages.page_id.is_monotonic_increasing
    assert impressions.page_id.tolist() == np.repeat(pages.page_id, 3).tolist()
    assert impressions.slot.tolist() == [1, 2, 3] * 400


def test_the_page_is_as_deep_as_the_deepest_slot_that_one_per_cent_of_pages_fill(log, check):
    deep = [{"page_id": f"p{i:03d}", "slot": 4, "module_id": "m3", "propensity": 0.2} for i in range(4)]
    deeper = [{"page_id": f"p{i:03d}", "slot": 5, "module_id": "m4", "propensity": 0.2} for i in range(3)]
    log["impressions"] = pd.concat([log["impressions"], pd.DataFrame(deep + deeper)], ignore_index=True)
    result = check(log)
    assert result.slots == 4
    assert result.quarantined["impressions"] == {"slot out of range": 3}


def test_columns_that_may_be_empty_may_be_missing(log, check, checked):
    log["impressions"] = log["impressions"].drop(columns="propensity")
    log["events"] = log["events"].drop(columns=["slot", "item_id", "price", "user_id"])
    assert check(log).bad_share == 0
    assert checked("impressions").propensity.isna().all()


@pytest.mark.parametrize("table", ["modules", "items", "pages", "impressions", "events"])
def test_a_missing_table_is_an_error_that_names_it(log, check, table):
    del log[table]
    with pytest.raises(ContractError, match=f"no table {table}.*{TABLES[table].required[-1]}"):
        check(log)


def test_a_missing_required_column_is_an_error_that_names_it_and_the_columns_there(log, check):
    log["pages"] = log["pages"].rename(columns={"platform": "device"})
    with pytest.raises(ContractError, match=r"Table pages has no column platform; it has .*device.*rename"):
        check(log)


FEATURES = FeatureParams(
    pages=(FeatureColumn(name="weather", kind="categorical"), FeatureColumn(name="wind", kind="numeric")),
    users=(FeatureColumn(name="tier", kind="categorical"),),
)


def test_declared_columns_go_through_and_others_are_named(log, check, checked):
    log["pages"] = log["pages"].assign(weather=3, wind="12", moon="full")
    log["users"] = pd.DataFrame({"user_id": ["u1", "u2", "u2"], "tier": ["gold", None, "gold"]})
    result = check(log, features=FEATURES)
    assert result.ignored["pages"] == ["moon"]
    assert result.quarantined["users"] == {"duplicate user_id": 1}
    pages = checked("pages")
    assert list(pages.columns) == [*TABLES["pages"].names, "weather", "wind"]
    assert set(pages.weather) == {"3"}
    assert set(pages.wind) == {12.0}
    assert checked("users").tier.fillna("none").tolist() == ["gold", "none"]


def test_a_declared_column_that_is_missing_is_an_error_that_names_the_entry(log, check):
    log["users"] = pd.DataFrame({"user_id": ["u1"], "tier": ["gold"]})
    with pytest.raises(ContractError, match=r"no column weather.*features\.pages"):
        check(log, features=FEATURES)


def test_declared_user_columns_make_the_table_users_required(log, check):
    with pytest.raises(ContractError, match="no table users"):
        check(log, features=FeatureParams(users=FEATURES.users))


def test_nothing_is_left_in_the_scratch_folder(log, check, tmp_path: Path):
    check(log)
    assert not (tmp_path / "scratch").exists()
