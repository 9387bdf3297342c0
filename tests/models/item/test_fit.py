from pathlib import Path

import numpy as np
import pytest
import torch

from pageopt.config import TrainParams, load
from pageopt.errors import TrainingError
from pageopt.features.encoder import Encoder
from pageopt.models.item.data import PageTensors
from pageopt.models.item.fit import fit
from pageopt.problems.fields import Field

ROOT = Path(__file__).parents[3]
PARAMS = load(ROOT / "params.yaml", TrainParams).model_copy(
    update={"threads": 1, "epochs": 1, "batch_size": 128, "width": 8, "embedding": 4}
)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.fit(
        [Field("platform", "categorical", "page")],
        {"platform": ["app", "web"]},
        [Field("family", "categorical", "module")],
        {"module_id": ["a", "b", "c", "d"], "family": ["x", "y", "x", "y"]},
        slots=3,
        min_count=1,
        title_tokens=2,
        vocabulary=5,
    )


def _pages(encoder: Encoder, count: int, seed: int, **rates: float) -> PageTensors:
    """Random pages whose labels are 1 at `rates`."""
    random = np.random.default_rng(seed)
    encoded = encoder.encode({"platform": random.choice(["app", "web"], count).tolist()})
    module = random.random((count, 4)).argsort(1)[:, :3]
    labels = {
        name: torch.from_numpy((random.random(module.shape) < rate).astype(np.float32)) for name, rate in rates.items()
    }
    ones = torch.ones(module.shape)
    inputs = {name: torch.from_numpy(array) for name, array in (vars(encoded) | {"module": module}).items()}
    return PageTensors(**inputs, labels=labels, weights=dict.fromkeys(labels, ones))


def test_losses_without_a_positive_label_are_left_out(encoder: Encoder) -> None:
    train, valid = (_pages(encoder, 200, seed, click=0.3, intent=0.0, purchase=0.1) for seed in (1, 2))
    model, record = fit(encoder, PARAMS, train, valid, single_slots=False)
    assert model.config.losses == ("click", "purchase") == tuple(record.best.valid)


def test_logs_without_any_positive_label_are_refused(encoder: Encoder) -> None:
    pages = _pages(encoder, 20, 1, click=0.0, purchase=0.0)
    with pytest.raises(TrainingError, match=r"None of train\.losses \['click', 'purchase'\] .* on 20 training pages"):
        fit(encoder, PARAMS, pages, pages, single_slots=False)


@pytest.mark.parametrize(("single_slots", "ways"), [(True, {"hidden"}), (False, {"chosen", "hidden"})])
def test_logs_of_single_slots_teach_nothing_of_modules_above(encoder: Encoder, single_slots: bool, ways: set) -> None:
    train, valid = (_pages(encoder, 200, seed, click=0.3) for seed in (1, 2))
    model, record = fit(encoder, PARAMS, train, valid, single_slots=single_slots)
    assert model.config.above == record.best.way
    assert model.config.above in ways
    assert (record.best.otherwise is None) == single_slots


def test_the_same_pages_and_params_give_the_same_weights(encoder: Encoder) -> None:
    train, valid = (_pages(encoder, 200, seed, click=0.3) for seed in (1, 2))
    first, second, other = (
        fit(encoder, PARAMS.model_copy(update={"seed": seed}), train, valid, single_slots=False)[0].state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["heads.weight"], other["heads.weight"])


@pytest.mark.parametrize(
    ("objective", "watched"),
    [
        ("click", ["click"]),
        ("purchase", ["purchase"]),
        ("intent", ["click", "purchase"]),
        (None, ["click", "purchase"]),
    ],
)
def test_early_stop_watches_the_losses_of_the_head_that_pages_are_made_by(encoder, objective, watched) -> None:
    train, valid = (_pages(encoder, 200, seed, click=0.3, purchase=0.1) for seed in (1, 2))
    _, record = fit(encoder, PARAMS, train, valid, single_slots=True, objective=objective)
    for epoch in record.epochs:
        relative = [epoch.valid[name] / record.constant[name] for name in watched]
        assert epoch.relative == pytest.approx(sum(relative) / len(relative), rel=1e-12)
    assert record.best.relative == min(epoch.relative for epoch in record.epochs)
