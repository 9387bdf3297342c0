import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pageopt.config import apply
from pageopt.contract import TABLES
from pageopt.errors import SourceError
from pageopt.stages import collect
from pageopt.workspace import Workspace

ROOT = Path(__file__).parents[2]
SHOP = "{pages: 300, days: 2, users: 50, items: 40, categories: 3, modules: 12, families: 4, slots: 3, available: 6"
SHOP += ", propensity_samples: 50}"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    return Workspace(tmp_path)


def overlay(workspace: Workspace, text: str) -> None:
    path = workspace.root / "overlay.yaml"
    path.write_text(text)
    apply(workspace.params, path)


def source_json(workspace: Workspace) -> dict:
    return json.loads((workspace.raw / "source.json").read_text())


def test_simulated_logs_are_in_the_contract(workspace, capsys):
    overlay(workspace, f"collect: {{source: simulator, simulator: {SHOP}}}")
    (workspace.raw / "pages").mkdir(parents=True)
    (workspace.raw / "pages" / "old.parquet").write_text("from an earlier run")
    collect.run(workspace)
    report = source_json(workspace)
    assert report["source"] == "simulator"
    assert report["rows"]["pages"] == 300
    assert report["first_ts"] < report["last_ts"]
    assert set(report["policies"]) == {"random", "thompson", "production"}
    assert not (workspace.raw / "pages" / "old.parquet").exists()
    for name in ("modules", "items", "pages", "impressions", "events"):
        read = pq.read_table(workspace.raw / name)
        assert read.num_rows == report["rows"][name]
        for field in TABLES[name].arrow_schema:
            assert read.schema.field(field.name).type == field.type, f"{name}.{field.name}"
    assert "300 pages" in capsys.readouterr().out


def test_own_logs_are_read_from_the_folder_in_params(workspace):
    folder = workspace.root / "mine"
    for name, table in TABLES.items():
        if name != "users":
            (folder / name).mkdir(parents=True)
            schema = pa.schema([field.with_nullable(True) for field in table.arrow_schema])
            pq.write_table(schema.empty_table(), folder / name / "a.parquet")
    overlay(workspace, "collect: {source: parquet, folder: mine}")
    collect.run(workspace)
    assert source_json(workspace)["source"] == "parquet"
    assert source_json(workspace)["folder"].endswith("mine")


def test_a_source_that_cannot_be_read_is_an_error_with_a_way_out(workspace):
    overlay(workspace, "collect: {source: parquet, folder: nowhere}")
    with pytest.raises(SourceError, match="make run SOURCE=parquet DATA=folder"):
        collect.run(workspace)
