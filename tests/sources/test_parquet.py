import os
import shutil
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pageopt.errors import SourceError
from pageopt.sources.parquet import ParquetSource


def test_tables_are_copied_with_text_ids_and_times_in_utc(inbox, tmp_path):
    target = tmp_path / "raw"
    report = ParquetSource(inbox).collect(target)
    assert report.rows == {"modules": 3, "items": 1, "pages": 2, "impressions": 3, "events": 1}
    assert report.first_ts == "2023-11-14T22:13:20.123456+00:00"
    assert report.last_ts == "2023-11-14T22:14:20+00:00"
    assert report.policies == {"random": 1, "mine": 1}
    pages = pq.read_table(target / "pages")
    types = {field.name: field.type for field in pages.schema}
    assert types["ts"] == pa.timestamp("us", "UTC")
    assert types["user_id"] == types["platform"] == types["weather"] == pa.string()
    assert pages["candidates"].to_pylist() == [["1", "2"], ["3"]]
    assert pages["weather"].to_pylist() == ["sun", "rain"]
    assert pq.read_table(target / "modules")["module_id"].to_pylist() == ["1", "2", "3"]
    events = pq.read_table(target / "events")
    assert events["ts"].to_pylist() == [datetime(2023, 11, 14, 22, 13, 21, tzinfo=UTC)]


def test_the_users_own_files_are_not_shared_with_the_workspace(inbox, tmp_path):
    ParquetSource(inbox).collect(tmp_path / "raw")
    copies = {path.stat().st_ino for path in (tmp_path / "raw").rglob("*.parquet")}
    assert not copies & {path.stat().st_ino for path in inbox.rglob("*.parquet")}


def test_without_candidates_every_module_is_one_and_the_report_says_so(inbox, edit, tmp_path):
    edit("pages", lambda pages: pages.drop(["candidates"]))
    report = ParquetSource(inbox).collect(tmp_path / "raw")
    assert pq.read_table(tmp_path / "raw" / "pages")["candidates"].to_pylist() == [["1", "2", "3"]] * 2
    assert "every module" in str(report.candidates)
    assert report.rows["pages"] == 2


def test_what_is_not_a_table_is_named(inbox, tmp_path):
    (inbox / "user").mkdir()
    assert ParquetSource(inbox).collect(tmp_path / "raw").not_read == ["user"]


def test_several_files_of_a_table_may_differ_in_their_types(inbox, tmp_path):
    more = pa.table({"page_id": [12], "slot": ["1"], "module_id": [3]})
    pq.write_table(more, inbox / "impressions" / "2025.parquet")
    report = ParquetSource(inbox).collect(tmp_path / "raw")
    assert report.rows["impressions"] == 4
    parts = sorted((tmp_path / "raw" / "impressions").glob("*.parquet"))
    assert [pq.read_table(part)["page_id"].to_pylist() for part in parts] == [["p0", "p0", "p1"], ["12"]]


def test_times_that_are_text_are_left_for_the_check(inbox, edit, tmp_path):
    edit("pages", lambda t: t.set_column(t.schema.get_field_index("ts"), "ts", pa.array(["2024-01-01", "x"])))
    report = ParquetSource(inbox).collect(tmp_path / "raw")
    assert (report.first_ts, report.last_ts) == ("", "")
    assert pq.read_table(tmp_path / "raw" / "pages")["ts"].to_pylist() == ["2024-01-01", "x"]


def test_a_missing_folder_says_what_is_expected(tmp_path):
    with pytest.raises(SourceError, match=r"no folder .*nowhere.*impressions with page_id, slot, module_id.*DATA="):
        ParquetSource(tmp_path / "nowhere").collect(tmp_path / "raw")


def test_an_empty_folder_says_what_is_expected(tmp_path):
    (tmp_path / "README.md").write_text("hello")
    with pytest.raises(SourceError, match=r"none of the tables.*users \(optional\)"):
        ParquetSource(tmp_path).collect(tmp_path / "raw")


def test_missing_tables_are_named(inbox, tmp_path):
    shutil.rmtree(inbox / "events")
    os.remove(inbox / "items.parquet")
    with pytest.raises(SourceError, match="has no table items and no events"):
        ParquetSource(inbox).collect(tmp_path / "raw")


def test_a_table_in_both_layouts_is_refused(inbox, tmp_path):
    shutil.copy(inbox / "pages" / "2024.parquet", inbox / "pages.parquet")
    with pytest.raises(SourceError, match=r"Both .*pages\.parquet and .*Keep one"):
        ParquetSource(inbox).collect(tmp_path / "raw")


def test_a_file_that_is_no_parquet_is_named(inbox, tmp_path):
    (inbox / "events" / "bad.parquet").write_text("not parquet at all")
    with pytest.raises(SourceError, match=r"bad\.parquet cannot be read as Parquet"):
        ParquetSource(inbox).collect(tmp_path / "raw")


def test_a_damaged_file_is_named(inbox, tmp_path):
    path = inbox / "impressions" / "2024.parquet"
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"2024\.parquet is damaged"):
        ParquetSource(inbox).collect(tmp_path / "raw")
