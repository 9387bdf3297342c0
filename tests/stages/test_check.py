import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pageopt.contract import TABLES
from pageopt.errors import ContractError
from pageopt.stages import check
from pageopt.workspace import Workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """100 pages of two slots, two of them about an item that does not exist."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "dvc.yaml").touch()
    start = pd.Timestamp("2024-03-01", tz="UTC")
    ids = [f"p{i:02d}" for i in range(100)]
    text = {"algorithm": "a", "theme": "t", "recall": "r"}
    rows: dict[str, list[dict]] = {
        "modules": [{"module_id": m, "family": m, **text} for m in ("m1", "m2")],
        "items": [{"item_id": "i", "title": "shoe", "category": "c", "brand": None, "price": 2.0}],
        "pages": [
            {
                "page_id": page,
                "user_id": None,
                "ts": start + pd.Timedelta(hours=i),
                "platform": "web",
                "hero_item_id": "gone" if i < 2 else "i",
                "policy": "random",
                "candidates": ["m1", "m2"],
            }
            for i, page in enumerate(ids)
        ],
        "impressions": [
            {"page_id": page, "slot": slot, "module_id": f"m{slot}", "propensity": 0.5}
            for page in ids
            for slot in (1, 2)
        ],
        "events": [
            {
                "event_id": "e", "ts": start + pd.Timedelta(hours=50), "user_id": None, "kind": "click",
                "page_id": "p50", "module_id": "m1", "slot": 1, "item_id": None, "price": None,
            }
        ],
    }  # fmt: skip
    for name, several in rows.items():
        (tmp_path / "data" / "raw" / name).mkdir(parents=True)
        schema = TABLES[name].arrow_schema
        pq.write_table(pa.Table.from_pylist(several, schema), tmp_path / "data" / "raw" / name / "a.parquet")
    return Workspace(tmp_path)


def set_limit(workspace: Workspace, share: float) -> None:
    text = workspace.params.read_text()
    assert "max_bad_share: 0.01" in text
    workspace.params.write_text(text.replace("max_bad_share: 0.01", f"max_bad_share: {share}"))


def test_below_the_limit_the_run_goes_on_and_says_what_was_quarantined(workspace, capsys):
    set_limit(workspace, 0.1)
    check.run(workspace)
    shape = json.loads((workspace.checked / "shape.json").read_text())
    assert shape == {
        "slots": 2,
        "rows": {"modules": 2, "items": 1, "pages": 98, "impressions": 196, "events": 1},
        "first_page_ts": "2024-03-01T02:00:00+00:00",
        "last_page_ts": "2024-03-05T03:00:00+00:00",
        "last_event_ts": "2024-03-03T02:00:00+00:00",
    }
    report = json.loads((workspace.reports / "check.json").read_text())
    assert report["rows"] == shape["rows"]
    assert report["quarantined"]["pages"] == {"unknown hero item": 2}
    assert report["quarantined"]["impressions"] == {"impression of an unknown page": 4}
    assert report["bad_share"] == pytest.approx(6 / 304)
    assert "unknown hero item 2" in " ".join(capsys.readouterr().out.split())


def test_above_the_limit_it_stops_names_the_worst_and_has_written_the_quarantine(workspace):
    with pytest.raises(
        ContractError,
        match=r"6 of 304 rows \(2\.0%\).* = 1\.0%.*4 rows of impressions, 'impression of an unknown page'"
        r".*pages: 'unknown hero item' 2.*quarantine",
    ):
        check.run(workspace)
    rows = pq.read_table(workspace.quarantine / "pages").to_pylist()
    assert [(row["row_key"], row["reason"]) for row in rows] == [
        ("p00", "unknown hero item"),
        ("p01", "unknown hero item"),
    ]
    assert json.loads(rows[0]["row"])["hero_item_id"] == "gone"
    assert json.loads((workspace.reports / "check.json").read_text())["bad_share"] > 0.01


def test_a_second_run_gives_the_same_bytes(workspace):
    set_limit(workspace, 0.1)
    check.run(workspace)
    first = {path: path.read_bytes() for path in workspace.checked.rglob("*") if path.is_file()}
    first |= {path: path.read_bytes() for path in workspace.quarantine.rglob("*") if path.is_file()}
    check.run(workspace)
    assert first == {path: path.read_bytes() for path in first}


def test_a_log_without_a_good_page_is_an_error(workspace):
    set_limit(workspace, 1.0)
    path = workspace.raw / "items" / "a.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(ContractError, match="No row of pages keeps the data contract"):
        check.run(workspace)


def test_columns_left_out_are_named(workspace, capsys):
    set_limit(workspace, 0.1)
    path = workspace.raw / "modules" / "a.parquet"
    pq.write_table(pq.read_table(path).append_column("colour", pa.array(["red", "blue"])), path)
    check.run(workspace)
    assert "colour" in capsys.readouterr().out
    assert json.loads((workspace.reports / "check.json").read_text())["ignored_columns"]["modules"] == ["colour"]
