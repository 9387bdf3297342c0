"""The estimators on the Open Bandit Dataset: the uniformly random log judges the Thompson sampler (BTS) of its prior.

Its rows show one position each, so the arrays are `[impressions]`. Saito et al., 2020, arXiv:2008.07146.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from pageopt.config import ObdParams, RewardModelParams
from pageopt.evaluation.estimate import UserBootstrap
from pageopt.evaluation.offpolicy import dm, dr, ips, sndr_estimate, snips
from pageopt.evaluation.reward_model import RewardModel, page_units
from pageopt.evaluation.snapshots import read_snapshots
from pageopt.features.encoder import Encoder
from pageopt.problems.fields import Field
from pageopt.sources.obd import SLOTS, ObdSource, find_wheel

FEATURES = [f"user_feature_{i}" for i in range(4)]
# IPS of BTS on the random log of the small data set; that of "men" has 46 clicks, so they do not come closer by chance.
IPS = {"men": 0.00453, "women": 0.00681, "all": 0.00455}
PARAMS = RewardModelParams(folds=3, rounds=10, depth=3, learning_rate=0.3)


@pytest.fixture(scope="session")
def external(pytestconfig: pytest.Config) -> Path:
    """The folder with the real wheel, downloaded once and kept in pytest's cache."""
    folder = Path(pytestconfig.cache.mkdir("external"))
    find_wheel(folder)
    return folder


@pytest.fixture(scope="module", params=sorted(IPS))
def log(request, external, tmp_path_factory):
    """The random log of a campaign as arrays `[impressions]`, with q̂ of three folds."""
    folder = tmp_path_factory.mktemp(f"obd-{request.param}")
    ObdSource(ObdParams(campaign=request.param, propensity_samples=100_000), external, seed=1).collect(folder)
    read = {name: pq.read_table(folder / name).to_pandas() for name in ("modules", "pages", "impressions", "events")}
    modules = read["modules"].sort_values("module_id", ignore_index=True)
    rows = read["pages"].merge(read["impressions"], on="page_id")
    rows = rows[rows["policy"] == "random"].reset_index(drop=True)
    encoder = Encoder.fit(
        [Field(name, "categorical", "page") for name in FEATURES],
        {name: rows[name].to_numpy() for name in FEATURES},
        [Field("theme", "categorical", "module")],
        {name: modules[name].to_numpy() for name in modules},
        slots=SLOTS,
        min_count=1,
        title_tokens=1,
        vocabulary=1,
    )
    slot = rows["slot"].to_numpy() - 1
    shown = np.searchsorted(modules["module_id"].to_numpy(), rows["module_id"].to_numpy())
    click = rows["page_id"].isin(read["events"]["page_id"]).to_numpy().astype(np.float64)
    at = np.arange(len(rows)), slot
    page = np.full((len(rows), SLOTS), -1)
    page[at] = shown
    reward = np.zeros(page.shape, dtype=np.float32)
    reward[at] = click
    encoded = encoder.encode({name: rows[name].to_numpy() for name in FEATURES})
    unit = page_units(np.full(len(rows), None), rows["page_id"].to_numpy())
    rewards = {"click": reward, "purchase": np.zeros_like(reward)}
    model = RewardModel.fit(
        encoder, encoded, unit, page, rewards, PARAMS, policies=("random",), seed=1, threads=1, progress=False
    )
    probability = read_snapshots(folder / "snapshots", encoder.module_ids, SLOTS)["bts"][slot]  # [impressions, modules]
    everything = np.empty((len(rows), len(modules)))
    for module in range(len(modules)):
        everywhere = np.where(page >= 0, module, -1)
        everything[:, module] = model.predict(encoded, unit, everywhere)["click"][at]
    return SimpleNamespace(
        campaign=request.param,
        reward=click,
        weight=probability[np.arange(len(rows)), shown] / rows["propensity"].to_numpy(),
        q_logged=model.predict(encoded, unit, page)["click"][at],
        q_target=(probability * everything).sum(axis=1),
        folds=model.folds,
    )


def test_estimates_are_the_plain_formulas(log):
    assert len(log.reward) == 10_000
    assert log.folds == 3
    r, w, q, target = log.reward, log.weight, log.q_logged, log.q_target
    quick = {"replicates": 5}
    assert dm(target, **quick).value == pytest.approx(np.mean(target), abs=1e-12)
    assert ips(r, w, **quick).value == pytest.approx(np.mean(w * r), abs=1e-12)
    assert snips(r, w, **quick).value == pytest.approx(np.sum(w * r) / np.sum(w), abs=1e-12)
    assert dr(r, w, q, target, **quick).value == pytest.approx(np.mean(target + w * (r - q)), abs=1e-12)
    corrected = np.mean(target) + np.sum(w * (r - q)) / np.sum(w)
    own = sndr_estimate(r, w, q, target, UserBootstrap(len(r), replicates=5))
    assert own.value == pytest.approx(corrected, abs=1e-12)


def test_ips_is_the_published_value(log):
    found = ips(log.reward, log.weight)
    assert found.value == pytest.approx(IPS[log.campaign], abs=5e-5)
    assert log.weight.mean() == pytest.approx(1, abs=0.05)


def test_estimators_agree_within_their_intervals(log):
    estimates = [
        snips(log.reward, log.weight),
        dr(log.reward, log.weight, log.q_logged, log.q_target),
        sndr_estimate(log.reward, log.weight, log.q_logged, log.q_target, UserBootstrap(len(log.reward))),
    ]
    found = ips(log.reward, log.weight)
    assert all(found.low < estimate.value < found.high for estimate in estimates)
