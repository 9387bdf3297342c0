"""Against the real wheel, downloaded once."""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import integrate, stats

from pageopt import presets
from pageopt.config import FeatureParams, ObdParams, load
from pageopt.contract import TABLES, tables
from pageopt.errors import SourceError
from pageopt.sources import obd
from pageopt.sources.obd import ObdSource, Prior, bts_marginals

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["all", "men", "women"])
def campaign(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def collected(campaign, external, tmp_path_factory):
    target = tmp_path_factory.mktemp(f"obd-{campaign}")
    report = ObdSource(ObdParams(campaign=campaign, propensity_samples=20_000), external, seed=1).collect(target)
    return target, report


CLICKS = {"all": (38, 42), "men": (46, 69), "women": (46, 46)}
ITEMS = {"all": 80, "men": 34, "women": 46}


def frame(folder: Path, table: str):
    return pq.read_table(folder / table).to_pandas()


def test_each_row_is_a_page_with_one_observed_slot(campaign, collected):
    folder, report = collected
    pages, impressions, events = (frame(folder, table) for table in ("pages", "impressions", "events"))
    assert report.rows == {
        "modules": ITEMS[campaign], "items": 1, "pages": 20_000, "impressions": 20_000, "events": sum(CLICKS[campaign])
    }  # fmt: skip
    assert report.policies == {"random": 10_000, "thompson": 10_000}
    assert "Saito" in report.cite
    assert "CC BY 4.0" in report.cite
    assert impressions.page_id.tolist() == pages.page_id.tolist()
    assert pages.page_id.is_unique
    assert f"random-{campaign}-000123" in set(pages.page_id)
    assert pages.ts.is_monotonic_increasing
    assert set(impressions.slot) == {1, 2, 3}
    assert pages.user_id.isna().all()
    assert {len(candidates) for candidates in pages.candidates} == {ITEMS[campaign]}
    clicks = events.merge(pages, on="page_id").policy.value_counts()
    assert (clicks["random"], clicks["thompson"]) == CLICKS[campaign]
    uniform = impressions.propensity[pages.policy == "random"]
    assert np.allclose(uniform, 1 / ITEMS[campaign])


def test_tables_have_the_contracts_columns_and_those_that_the_preset_declares(collected, tmp_path):
    folder, _ = collected
    params = tmp_path / "params.yaml"
    params.write_text((ROOT / "params.yaml").read_text())
    presets.config.apply(params, ROOT / "presets" / "obd.yaml")
    declared = tables(load(params, FeatureParams))
    for name in ("modules", "items", "pages", "impressions", "events"):
        schema = pq.read_schema(folder / name / "part-00000.parquet")
        assert {field.name: field.type for field in schema} == {
            field.name: field.type for field in declared[name].arrow_schema
        }
        assert schema.names[: len(TABLES[name].names)] == list(TABLES[name].names)


def test_snapshot_gives_the_published_value_of_the_bts_policy_on_the_random_log(campaign, collected):
    """IPS of BTS on the random log of the small data set, as other replications of it report."""
    folder, _ = collected
    snapshot = frame(folder, "snapshots")
    assert set(snapshot.policy) == {"bts"}
    assert np.allclose(snapshot.groupby("slot").probability.sum(), 1)
    pages, impressions, events = (frame(folder, table) for table in ("pages", "impressions", "events"))
    log = impressions[(pages.policy == "random").to_numpy()].merge(snapshot, on=["slot", "module_id"])
    assert len(log) == 10_000
    reward = log.page_id.isin(events.page_id)
    value = (log.probability / log.propensity * reward).mean()
    assert value == pytest.approx({"all": 0.00455, "men": 0.00453, "women": 0.00681}[campaign], rel=0.05)


def test_collecting_twice_gives_the_same_bytes(external, tmp_path):
    params = ObdParams(campaign="men", propensity_samples=1000)
    for name in ("one", "two"):
        ObdSource(params, external, seed=3).collect(tmp_path / name)
    for path in (tmp_path / "one").rglob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_marginals_of_the_first_slot_agree_with_integration():
    """P(item first) = ∫ f_i(x) Π_j≠i F_j(x) dx."""
    alpha, beta = np.array([3.0, 5.0, 2.0]), np.array([20.0, 40.0, 9.0])
    samples = 50_000
    probability = bts_marginals(Prior(alpha, beta), 3, samples, seed=0)
    for i in range(3):
        others = [j for j in range(3) if j != i]

        def density(x: float, i: int = i, others: list[int] = others) -> float:
            return stats.beta.pdf(x, alpha[i], beta[i]) * np.prod(stats.beta.cdf(x, alpha[others], beta[others]))

        exact = integrate.quad(density, 0, 1, points=[0.1, 0.3])[0]
        assert probability[0, i] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / samples))
    assert probability.sum(axis=1) == pytest.approx(np.ones(3))
    assert probability.sum(axis=0) == pytest.approx(np.ones(3)), "three slots for three items: each is shown once"


def test_another_file_of_the_wheels_name_is_refused(tmp_path):
    (tmp_path / obd.WHEEL).write_bytes(b"something else")
    with pytest.raises(SourceError, match=r"SHA-256.*Delete the file"):
        obd.find_wheel(tmp_path)


def test_without_a_connection_the_error_says_where_to_put_the_wheel(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    with pytest.raises(SourceError, match=rf"could not be downloaded to (?s:.*){obd.WHEEL}"):
        obd.find_wheel(tmp_path / "external")


def test_the_library_of_the_data_set_is_never_imported(collected):
    assert "obp" not in sys.modules
