import os
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from pageopt.config import TrainParams
from pageopt.errors import TrainingError
from pageopt.models.common import checkpoint, training
from pageopt.models.item.data import PageTensors
from pageopt.models.item.heads import HEADS
from pageopt.studies.bench import inputs
from pageopt.studies.bench.inputs import Size

ARCHITECTURES = ["trnn", "mlp", "transformer"]
SIZE = Size(modules=12, families=4, slots=4, width=16, embedding=8, cardinalities=(3,), numerics=1, texts=0)
PARAMS = TrainParams(
    seed=1,
    threads=1,
    epochs=4,
    patience=4,
    batch_size=256,
    learning_rate=0.005,
    weight_decay=0,
    width=16,
    dropout=0.3,
    averaging=0.9,
    embedding=8,
    bf16=False,
    losses=("click",),
    loss_weights="learned",
    slot_ips=False,
    above="chosen",
    above_dropout=0.25,
)


def _pages(count, seed, losses=("click",), rate=None):
    """Pages whose labels come from `rate` [count, K], a function of families [count, K] (default: by module)."""
    encoded = inputs.pages(SIZE, count, seed)
    module = inputs.shown(SIZE, count, seed)
    family = inputs.model(SIZE).family_of.numpy()[module]
    p = 0.05 + 0.4 * (module % 3 == 0) if rate is None else rate(family)
    random = np.random.default_rng(seed)
    labels = {name: torch.from_numpy((random.random(p.shape) < p).astype(np.float32)) for name in losses}
    ones = torch.ones(p.shape)
    return PageTensors(
        categorical=torch.from_numpy(encoded.categorical.astype(np.int32)),
        numeric=torch.from_numpy(encoded.numeric),
        tokens=torch.from_numpy(encoded.tokens.astype(np.int32)),
        module=torch.from_numpy(module.astype(np.int32)),
        labels=labels,
        weights=dict.fromkeys(losses, ones),
    )


def _model(above="chosen", losses=("click",), architecture="trnn"):
    return inputs.model(replace(SIZE, architecture=architecture, above=above, losses=losses), seed=1)


def _bytes(model, folder):
    model.save(folder)
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_learns_which_modules_are_clicked(architecture):
    model = _model(architecture=architecture)
    record = training.train(model, _pages(4000, 1), _pages(1000, 2), PARAMS)
    assert record.best.relative < 0.9
    assert record.best.valid["click"] == pytest.approx(training.evaluate(model, _pages(1000, 2))["click"], rel=1e-6)
    # the entropy of the truth is the floor
    p = np.array([0.45] * 4 + [0.05] * 8)
    floor = -(p * np.log(p) + (1 - p) * np.log(1 - p)).mean()
    assert record.best.valid["click"] > floor * 0.95


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("loss_weights", ["learned", "equal"])
def test_any_set_of_losses_can_be_learned(architecture, loss_weights):
    """Every head with a loss learns more than its base rate from labels that depend on the module; others answer 0."""
    names = ("click", "intent", "purchase", "attributed")
    params = PARAMS.model_copy(update={"epochs": 1, "loss_weights": loss_weights, "learning_rate": 0.02})
    train, valid = _pages(1200, 1, names), _pages(400, 2, names)
    for losses in (some for count in range(1, 5) for some in combinations(names, count)):
        model = _model(losses=losses, architecture=architecture)
        record = training.train(model, train, valid, params)
        assert all(record.best.valid[name] < record.constant[name] for name in losses), losses
        assert (record.best.factors == dict.fromkeys(losses, 1.0)) == (loss_weights == "equal")
        with torch.inference_mode():
            chance = torch.sigmoid(model(*valid.inputs()))
        for head, chances in zip(HEADS, chance.unbind(-1), strict=True):
            assert (chances.max() > 0.05) == (head in model.config.trained_heads), (losses, head)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_same_seed_same_bytes_another_seed_others(tmp_path, architecture):
    def trained(seed, threads):
        with torch.random.fork_rng():
            torch.manual_seed(threads)  # what the caller's generator holds must not matter
            model = _model(architecture=architecture)
            training.train(model, _pages(600, 1), _pages(200, 2), PARAMS.model_copy(update={"seed": seed, "epochs": 2}))
        return _bytes(model, tmp_path / f"{seed}-{threads}")

    assert trained(1, 1) == trained(1, 2)
    assert trained(1, 1) != trained(2, 1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("above", ["chosen", "auto"])
@pytest.mark.parametrize("losses", [("click",), ("click", "intent", "purchase", "attributed")])
def test_resumed_training_gives_the_same_bytes(tmp_path, losses, above, architecture):
    train, valid = _pages(600, 1, losses), _pages(200, 2, losses)
    params = PARAMS.model_copy(update={"above": above})
    whole = _model(losses=losses, architecture=architecture)
    record = training.train(whole, train, valid, params)

    class StopError(Exception):
        pass

    class Interrupted(training._Run):
        def keep(self, path):
            super().keep(path)
            if len(self.record.epochs) == 2:
                raise StopError

    resumed = _model(losses=losses, architecture=architecture)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_Run", Interrupted)
        with pytest.raises(StopError):
            training.train(resumed, train, valid, params, tmp_path / "checkpoints")
    fresh = _model(losses=losses, architecture=architecture)
    again = training.train(fresh, train, valid, params, tmp_path / "checkpoints")
    assert _bytes(fresh, tmp_path / "a") == _bytes(whole, tmp_path / "b")
    assert again == record


def test_checkpoint_of_other_pages_or_params_is_not_used(tmp_path):
    train, valid = _pages(300, 1), _pages(100, 2)
    model = _model()
    names = {
        training.fingerprint(model, train, valid, PARAMS),
        training.fingerprint(model, valid, train, PARAMS),
        training.fingerprint(model, train, valid, PARAMS.model_copy(update={"learning_rate": 0.1})),
        training.fingerprint(_model("hidden"), train, valid, PARAMS),
        training.fingerprint(_model("hidden", architecture="mlp"), train, valid, PARAMS),
        training.fingerprint(model, train, valid, PARAMS, ("click",)),
    }
    assert len(names) == 6
    assert training.fingerprint(_model(), _pages(300, 1), _pages(100, 2), PARAMS) in names


def test_half_written_checkpoint_does_not_replace_a_whole_one(tmp_path):
    path = tmp_path / "c.safetensors"
    checkpoint.write(path, {"a": torch.ones(2)}, {"epochs": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            checkpoint.write(path, {"a": torch.zeros(2)}, {"epochs": 2})
    tensors, state = checkpoint.read(path) or ({}, {})
    assert state == {"epochs": 1}
    assert tensors["a"].tolist() == [1, 1]
    assert checkpoint.read(tmp_path / "none") is None


def test_stops_early_and_keeps_the_best_weights():
    params = PARAMS.model_copy(update={"epochs": 40, "patience": 2, "learning_rate": 0.05})
    model, valid = _model(), _pages(300, 2)
    record = training.train(model, _pages(500, 1), valid, params)
    assert len(record.epochs) == record.best.epoch + 2 < 40
    assert record.best.relative == min(epoch.relative for epoch in record.epochs)
    assert training.evaluate(model, valid) == record.best.valid


def test_loss_that_is_not_a_number_stops_with_advice():
    train = _pages(300, 1)
    train.numeric[7] = torch.nan
    with pytest.raises(TrainingError, match=r"train\.learning_rate"):
        training.train(_model(), train, _pages(100, 2), PARAMS)


def test_labels_that_are_all_the_same_are_refused():
    train = _pages(300, 1)
    train.labels["click"].zero_()
    with pytest.raises(TrainingError, match="all the same"):
        training.train(_model(), train, _pages(100, 2), PARAMS)


def _bf16_lstm():
    """Whether this processor can run an LSTM in bf16: oneDNN has none for those without AVX-512."""
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.nn.LSTM(1, 1)(torch.zeros(1, 1, 1))
    except RuntimeError:
        return False
    return True


@pytest.mark.skipif(not _bf16_lstm(), reason="this processor cannot run an LSTM in bf16")
def test_bf16_learns_about_as_well():
    records = [
        training.train(_model(), _pages(1000, 1), _pages(1000, 2), PARAMS.model_copy(update={"bf16": bf16}))
        for bf16 in (False, True)
    ]
    assert records[1].best.relative == pytest.approx(records[0].best.relative, abs=0.02)


@pytest.mark.skipif(_bf16_lstm(), reason="this processor can run an LSTM in bf16")
def test_bf16_on_a_processor_without_it_is_refused_before_training(tmp_path):
    with pytest.raises(TrainingError, match=r"Set train\.bf16 to false"):
        training.train(_model(), _pages(300, 1), _pages(100, 2), PARAMS.model_copy(update={"bf16": True}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_settings_of_the_caller_come_back():
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with training.reproducible(1):
        assert torch.are_deterministic_algorithms_enabled()
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def _page_losses(model, pages):
    """Loss [P] of each page."""
    with torch.inference_mode():
        logits = model(*pages.inputs())[..., 0]
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, pages.labels["click"], reduction="none")
    return losses.sum(1).numpy()


def _below_family_0(family):
    """A module is clicked right below family 0, and seldom elsewhere."""
    above = np.column_stack([np.zeros(len(family), dtype=bool), family[:, :-1] == 0])
    return np.where(above, 0.6, 0.1)


@pytest.mark.parametrize("architecture", ["trnn", "transformer"])
@pytest.mark.parametrize("page_effects", [True, False])
def test_the_validation_split_decides_whether_the_modules_above_are_seen(page_effects, architecture):
    rate = _below_family_0 if page_effects else lambda family: np.where(family == 0, 0.4, 0.1)
    train, valid = _pages(3000, 1, rate=rate), _pages(2000, 2, rate=rate)
    model = _model(architecture=architecture)
    params = PARAMS.model_copy(update={"epochs": 8, "learning_rate": 0.01, "above": "auto"})
    record = training.train(model, train, valid, params)
    assert model.config.above == record.best.way == ("chosen" if page_effects else "hidden")
    assert record.best.otherwise is not None
    assert record.best.otherwise > record.best.relative
    assert training.evaluate(model, valid) == record.best.valid
    assert record.best.relative < 0.97


@pytest.mark.parametrize("architecture", ["trnn", "transformer"])
@pytest.mark.parametrize("page_effects", [True, False])
def test_seeing_the_modules_above_pays_where_they_matter_and_only_there(page_effects, architecture):
    rate = _below_family_0 if page_effects else lambda family: np.full(family.shape, 0.2)
    train, valid = _pages(3000, 1, rate=rate), _pages(2000, 2, rate=rate)
    losses = {}
    for above in ("chosen", "hidden"):
        model = _model(above, architecture=architecture)
        training.train(model, train, valid, PARAMS.model_copy(update={"epochs": 8, "learning_rate": 0.01}))
        losses[above] = _page_losses(model, valid)
    gain = losses["hidden"] - losses["chosen"]
    z = gain.mean() / (gain.std(ddof=1) / np.sqrt(len(gain)))
    assert z > 5 if page_effects else z < 2.5
