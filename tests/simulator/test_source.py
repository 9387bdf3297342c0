from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from pageopt.sources.simulator import SimulatorSource


def test_source_reports_what_it_wrote(make_shop, tmp_path: Path) -> None:
    params = make_shop(pages=300).params
    report = SimulatorSource(params, 4).collect(tmp_path)
    assert report.source == "simulator"
    assert report.rows["pages"] == report.rows["truth"] == 300
    ts = pq.read_table(tmp_path / "pages")["ts"].to_pylist()
    assert datetime.fromisoformat(report.first_ts) == min(ts)
    assert datetime.fromisoformat(report.last_ts) == max(ts)
    assert report.policies == params.traffic
