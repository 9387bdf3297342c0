from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pageopt.bench import inputs
from pageopt.bench.inputs import Size
from pageopt.errors import TrainingError
from pageopt.models.heads import HEAD_OF_LOSS, HEADS
from pageopt.models.network import PageNetwork, load_network

SIZE = Size(modules=15, families=4, slots=5, width=8, embedding=4, cardinalities=(3, 6), numerics=2, vocabulary=50)


def _tensors(size, count, seed=0):
    encoded = inputs.pages(size, count, seed)
    return tuple(map(torch.from_numpy, (encoded.categorical, encoded.numeric, encoded.tokens)))


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _by_formula(model, page, modules):
    """Logits [K, Q] of one page from DESIGN section 4, one slot after the other, in NumPy."""
    w = {name: value.detach().double().numpy() for name, value in model.named_parameters()}

    def fields(prefix, categorical, numeric, tokens):
        starts = np.cumsum(
            [0, *(model.config.cardinalities if prefix == "page" else model.config.module_cardinalities)]
        )
        parts = [numeric]
        parts += [w[f"{prefix}_fields.values.weight"][starts[i] + code] for i, code in enumerate(categorical)]
        for text in tokens:
            words = [w["words.weight"][token] for token in text if token]
            parts.append(np.mean(words, axis=0) if words else np.zeros(model.config.embedding))
        return np.concatenate(parts)

    def linear(name, x):
        return w[f"{name}.weight"] @ x + w.get(f"{name}.bias", 0)

    def cell(x, h, c):
        lstm = {name.removeprefix("history.lstm."): value for name, value in w.items()}
        gates = lstm["weight_ih_l0"] @ x + lstm["bias_ih_l0"] + lstm["weight_hh_l0"] @ h + lstm["bias_hh_l0"]
        i, f, g, o = np.split(gates, 4)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        return _sigmoid(o) * np.tanh(c), c

    x = fields("page", *(value[0].numpy() for value in page))
    h = h_x = np.tanh(linear("page_layers.2", np.maximum(linear("page_layers.0", x), 0)))
    c = np.zeros_like(h)
    result = []
    for module in modules:
        family = int(model.family_of[module]) if module >= 0 else model.config.families
        o, c_next = cell(w["history.family.weight"][family], h, c)
        own = fields(
            "module",
            *(getattr(model, f"module_{part}")[module].numpy() for part in ("categorical", "numeric", "tokens")),
        )
        h_m = linear(
            "module_layers.2",
            np.maximum(linear("module_layers.0", np.concatenate([w["module_id.weight"][module], own])), 0),
        )
        joined = np.concatenate([w["from_output.weight"], w["from_module.weight"]], 1)  # W · [o ; h_m]
        sums = joined @ np.concatenate([o, h_m]) + w["from_module.bias"]
        fit = (linear("fit_of_page", h_x) * linear("fit_of_module", h_m)).reshape(len(HEADS), -1).sum(1)
        evidence = linear("heads", np.maximum(sums, 0)) + fit
        chance = _sigmoid(evidence) * np.array([1, *_sigmoid(evidence[[0, 0]])])  # of a click; of both, given one
        result.append(np.log(chance) - np.log1p(-chance))
        h, c = (o, c_next) if model.config.history == "chosen" else cell(w["history.family.weight"][-1], h, c)
    return np.array(result)


@pytest.mark.parametrize("history", ["chosen", "hidden"])
def test_forward_is_the_formula(history):
    size = replace(SIZE, history=history)
    model = inputs.model(size, seed=1)
    page = _tensors(size, 1)
    page[2][0, 0, 3:] = 0  # padding
    modules = inputs.shown(size, 1)
    with torch.inference_mode():
        logits = model(*page, torch.from_numpy(modules))
    np.testing.assert_allclose(logits[0], _by_formula(model, page, modules[0]), atol=1e-5)


def test_texts_without_words_and_models_without_numbers_or_texts():
    modules = torch.from_numpy(inputs.shown(SIZE, 2))
    codes = torch.zeros((2, 2), dtype=torch.int64)
    wordless = torch.zeros((2, 1, 12), dtype=torch.int64)
    with torch.inference_mode():
        logits = inputs.model(SIZE)(codes, torch.zeros((2, 2)), wordless, modules)
        bare = inputs.model(replace(SIZE, numerics=0, texts=0))(codes, torch.zeros((2, 0)), wordless[:, :0], modules)
    assert logits.isfinite().all()
    assert bare.shape == (2, SIZE.slots, len(HEADS))


@given(slot=st.integers(0, SIZE.slots - 1), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_a_slot_does_not_see_those_below_it(slot, seed):
    model = inputs.model(SIZE)
    page = _tensors(SIZE, 1, seed)
    modules = torch.from_numpy(inputs.shown(SIZE, 2, seed))
    other = modules[:1].clone()
    other[:, slot + 1 :] = modules[1:, slot + 1 :]
    with torch.inference_mode():
        torch.testing.assert_close(
            model(*page, modules[:1])[:, : slot + 1], model(*page, other)[:, : slot + 1], rtol=0, atol=1e-6
        )


def test_only_families_above_matter_and_only_if_chosen():
    for history, sees in (("chosen", True), ("hidden", False)):
        model = inputs.model(replace(SIZE, history=history), spread=3.0)
        page = _tensors(SIZE, 1)
        family = model.family_of.numpy()
        last = 0
        same = next(m for m in range(2, 15) if family[m] == family[1])
        other = next(m for m in range(2, 15) if family[m] not in (family[1], family[last]))
        with torch.inference_mode():
            first, second, third = (model(*page, torch.tensor([[m, last]]))[0, 1] for m in (1, same, other))
        assert torch.equal(first, second)
        assert (not torch.equal(first, third)) == sees


@pytest.mark.parametrize(
    "rates",
    [
        {"click": 0.2},
        {"click": 0.2, "attributed": 0.03},
        {"click": 0.2, "intent": 0.05, "purchase": 0.01},
        {"intent": 0.3, "attributed": 0.1},  # without clicks each head stands alone
    ],
)
def test_heads_start_at_the_rates_and_untrained_ones_at_zero(rates):
    model = inputs.model(replace(SIZE, losses=tuple(rates)))
    model.start_from(rates)
    shown = torch.from_numpy(inputs.shown(SIZE, 1))
    with torch.inference_mode():
        untrained = torch.sigmoid(model(*_tensors(SIZE, 1), shown))
        for layer in (model.heads.weight, model.fit_of_page.weight, model.fit_of_page.bias):
            layer.zero_()
        start = torch.sigmoid(model(*_tensors(SIZE, 1), shown))
    for q, head in enumerate(HEADS):
        rate = next((rates[loss] for loss, of in HEAD_OF_LOSS.items() if of == q and loss in rates), None)
        assert (head in model.config.trained_heads) == (rate is not None)
        if rate is None:
            assert untrained[..., q].max() < 1e-12
        else:
            np.testing.assert_allclose(start[0, :, q], rate, rtol=1e-5)


def test_saved_and_loaded_model_is_the_same(tmp_path):
    model = inputs.model(SIZE)
    model.save(tmp_path / "a")
    loaded = load_network(tmp_path / "a")
    assert loaded.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])
    loaded.save(tmp_path / "b")
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("broken", ["model.json", "model.safetensors"])
def test_a_broken_model_is_named(tmp_path, broken):
    inputs.model(SIZE).save(tmp_path)
    (tmp_path / broken).write_bytes(b"{")
    with pytest.raises(TrainingError, match="dvc repro train"):
        load_network(tmp_path)


def test_table_of_modules_must_fit():
    model = inputs.model(SIZE)
    with pytest.raises(TrainingError, match="family is"):
        PageNetwork(replace(model.config, modules=3), _table(model))
    with pytest.raises(TrainingError, match="must lie in"):
        PageNetwork(replace(model.config, families=2), _table(model))


def _table(model):
    from pageopt.models.fields import ModuleTable

    return ModuleTable(
        model.family_of.numpy(),
        model.module_categorical.numpy(),
        model.module_numeric.numpy(),
        model.module_tokens.numpy(),
    )
