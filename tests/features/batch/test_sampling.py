import ibis
import numpy as np
import pyarrow as pa
import pytest

from pageopt.config import SamplingParams
from pageopt.features.batch.sampling import Rates, keep, rates


def params(no_interaction: float = 0.5, production: float = 1.0) -> SamplingParams:
    return SamplingParams(seed=1, no_interaction_rate=no_interaction, production_to_exploration=production)


@pytest.mark.parametrize(
    ("volume", "ratio", "expected"),
    [
        ({"random": 100, "thompson": 100, "production": 800}, 1.0, 0.25),
        ({"random": 100, "production": 800, "own": 200}, 2.0, 0.2),
        ({"random": 100, "production": 50}, 1.0, 1.0),
        ({"production": 50}, 1.0, 1.0),
        ({"random": 50}, 1.0, 1.0),
        ({"random": 50, "production": 10}, 0.0, 0.0),
        ({}, 1.0, 1.0),
    ],
)
def test_production_is_cut_to_exploration(volume, ratio, expected) -> None:
    assert rates(volume, params(production=ratio)) == Rates(0.5, expected)


def pages(count: int = 20_000) -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "page_id": [f"page {n}" for n in range(count)],
            "policy": random.choice(["random", "thompson", "production"], count),
            "interacted": random.random(count) < 0.3,
        }
    )


def kept(table: pa.Table, sampling_rates: Rates, seed: int = 1) -> pa.Table:
    return keep(ibis.memtable(table), sampling_rates, seed).to_pyarrow().sort_by("page_id")


def test_shares_and_weights() -> None:
    table = pages()
    result = kept(table, Rates(0.25, 0.4))
    frame, found = table.to_pandas(), result.to_pandas()
    exploring = frame.policy != "production"
    assert len(found[found.interacted & (found.policy != "production")]) == (frame.interacted & exploring).sum()
    quiet = len(found[~found.interacted & (found.policy != "production")]) / (~frame.interacted & exploring).sum()
    loud = len(found[found.interacted & (found.policy == "production")]) / (frame.interacted & ~exploring).sum()
    both = len(found[~found.interacted & (found.policy == "production")]) / (~frame.interacted & ~exploring).sum()
    assert quiet == pytest.approx(0.25, abs=0.02)
    assert loud == pytest.approx(0.4, abs=0.04)
    assert both == pytest.approx(0.1, abs=0.02)  # the two draws are independent
    assert set(found.weight[found.interacted]) == {1.0}
    assert set(found.weight[~found.interacted]) == {4.0}
    assert found.weight[found.policy != "production"].sum() == pytest.approx(exploring.sum(), rel=0.03)


def test_the_seed_decides_and_the_order_does_not() -> None:
    table = pages(2000)
    first = kept(table, Rates(0.5, 0.5))
    assert first.equals(kept(table.take(np.random.default_rng(1).permutation(2000)), Rates(0.5, 0.5)))
    assert first["page_id"] != kept(table, Rates(0.5, 0.5), seed=2)["page_id"]


def test_rate_one_keeps_all_and_rate_zero_drops_all() -> None:
    table = pages(500)
    assert len(kept(table, Rates(1.0, 1.0))) == 500
    assert set(kept(table, Rates(1.0, 0.0))["policy"].to_pylist()) == {"random", "thompson"}
