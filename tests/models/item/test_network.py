from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pageopt.config import TrainParams, load
from pageopt.errors import TrainingError
from pageopt.models.item.heads import HEAD_OF_LOSS, HEADS
from pageopt.models.item.network import ModuleTable, PageNetwork, above_mode, load_network
from pageopt.studies.bench import inputs
from pageopt.studies.bench.inputs import Size

ROOT = Path(__file__).parents[3]
SIZE = Size(modules=15, families=4, slots=5, width=8, embedding=4, cardinalities=(3, 6), numerics=2, vocabulary=50)


def _tensors(size, count, seed=0):
    encoded = inputs.pages(size, count, seed)
    return tuple(map(torch.from_numpy, (encoded.categorical, encoded.numeric, encoded.tokens)))


NETWORKS = [
    ("trnn", "chosen"),
    ("trnn", "hidden"),
    ("mlp", "chosen"),
    ("mlp", "hidden"),
    ("transformer", "chosen"),
    ("transformer", "hidden"),
]
ARCHITECTURES = ["trnn", "mlp", "transformer"]


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _by_formula(model, page, modules):
    """Logits [K, Q] of one page from the formulas, one slot after the other, in NumPy."""
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

    def lstm(h_x, families):
        """o of each slot, in turn."""
        h, c = h_x, np.zeros_like(h_x)
        for family in families:
            o, c_next = cell(w["above.family.weight"][family], h, c)
            yield o + h_x
            if model.config.above == "chosen":
                h, c = o, c_next
            else:
                h, c = cell(w["above.family.weight"][-1], h, c)

    def slot_mlp(h_x):
        for emb in w["above.slot.weight"]:
            hidden = np.maximum(linear("above.first", np.concatenate([h_x, emb])), 0)
            yield np.tanh(linear("above.second", hidden))

    def attention(h_x, h_m):
        """o of each slot: one head after the other, one token above after the other."""
        page = np.split(linear("above.of_page", h_x), 3)
        shown = [np.split(linear("above.of_module", h) + w["above.of_slot.weight"][s], 3) for s, h in enumerate(h_m)]
        size = len(h_x) // 4
        for slot, (query, _, _) in enumerate(shown):
            tokens = [page] if model.config.above == "hidden" else [page, *shown[:slot]]
            parts = []
            for head in range(4):
                at = slice(head * size, (head + 1) * size)
                weight = np.exp([(query + page[0])[at] @ key[at] / np.sqrt(size) for _, key, _ in tokens])
                parts.append(weight / weight.sum() @ np.array([value[at] for *_, value in tokens]))
            yield h_x + w["above.slot.weight"][slot] + np.concatenate(parts)

    def cell(x, h, c):
        lstm = {name.removeprefix("above.lstm."): value for name, value in w.items()}
        gates = lstm["weight_ih_l0"] @ x + lstm["bias_ih_l0"] + lstm["weight_hh_l0"] @ h + lstm["bias_hh_l0"]
        i, f, g, o = np.split(gates, 4)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        return _sigmoid(o) * np.tanh(c), c

    x = fields("page", *(value[0].numpy() for value in page))
    h_x = np.tanh(linear("page_layers.2", np.maximum(linear("page_layers.0", x), 0)))
    h_m = []
    for module in modules:
        parts = (getattr(model, f"module_{part}")[module].numpy() for part in ("categorical", "numeric", "tokens"))
        own = np.concatenate([w["module_id.weight"][module], fields("module", *parts)])
        h_m.append(linear("module_layers.2", np.maximum(linear("module_layers.0", own), 0)))
    outputs = {
        "trnn": lambda: lstm(h_x, model.family_of.numpy()[modules]),
        "mlp": lambda: slot_mlp(h_x),
        "transformer": lambda: attention(h_x, h_m),
    }[model.config.architecture]()
    result = []
    met = linear("fit_of_page", h_x)
    for o, h, module in zip(outputs, h_m, modules, strict=True):
        joined = np.concatenate([w["from_output.weight"], w["from_module.weight"]], 1)  # W · [o ; h_m]
        sums = joined @ np.concatenate([o, h]) + w["from_module.bias"]
        columns = model.module_columns[module].numpy()
        sums += w["from_about.weight"] @ [page[1][0, column - 1] if column else 0 for column in columns]
        fit = (met * linear("fit_of_module", h)).reshape(len(HEADS), -1).sum(1)
        if model.config.above == "chosen":
            met = met + w["fit_of_above.weight"] @ h
        evidence = linear("heads", np.maximum(sums, 0)) + fit
        chance = _sigmoid(evidence) * np.array([1, *_sigmoid(evidence[[0, 0]])])  # of a click; of both, given one
        result.append(np.log(chance) - np.log1p(-chance))
    return np.array(result)


@pytest.mark.parametrize("architecture", ["trnn", "transformer"])
def test_a_network_asked_to_hide_the_modules_above_is_the_one_that_hides_them(architecture, tmp_path):
    size = replace(SIZE, architecture=architecture)
    model = inputs.model(size, seed=1, spread=3.0)
    pages, modules = _tensors(size, 9), torch.from_numpy(inputs.shown(size, 9))
    with torch.inference_mode():
        seen, asked = model(*pages, modules), model(*pages, modules, hidden=True)
        model.settle("hidden")
        hiding = model(*pages, modules)
    model.save(tmp_path)
    loaded = load_network(tmp_path)
    assert loaded.config == replace(model.config, above="hidden")
    with torch.inference_mode():
        assert torch.equal(loaded(*pages, modules), hiding)
    assert torch.equal(asked, hiding)
    torch.testing.assert_close(asked[:, 0], seen[:, 0])  # above the first slot there is nothing to hide
    assert not torch.allclose(asked[:, 1:], seen[:, 1:])


@pytest.mark.parametrize(("architecture", "above"), NETWORKS)
def test_forward_is_the_formula(architecture, above):
    size = replace(SIZE, architecture=architecture, above=above)
    model = inputs.model(size, seed=1)
    page = _tensors(size, 1)
    page[2][0, 0, 3:] = 0  # padding
    modules = inputs.shown(size, 1)
    with torch.inference_mode():
        logits = model(*page, torch.from_numpy(modules))
    np.testing.assert_allclose(logits[0], _by_formula(model, page, modules[0]), atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_texts_without_words_and_models_without_numbers_or_texts(architecture):
    size = replace(SIZE, architecture=architecture)
    modules = torch.from_numpy(inputs.shown(size, 2))
    codes = torch.zeros((2, 2), dtype=torch.int64)
    wordless = torch.zeros((2, 1, 12), dtype=torch.int64)
    with torch.inference_mode():
        logits = inputs.model(size)(codes, torch.zeros((2, 2)), wordless, modules)
        bare = inputs.model(replace(size, numerics=0, texts=0))(codes, torch.zeros((2, 0)), wordless[:, :0], modules)
    assert logits.isfinite().all()
    assert bare.shape == (2, SIZE.slots, len(HEADS))


@given(architecture=st.sampled_from(ARCHITECTURES), slot=st.integers(0, SIZE.slots - 1), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_a_slot_does_not_see_those_below_it(architecture, slot, seed):
    model = inputs.model(replace(SIZE, architecture=architecture))
    page = _tensors(SIZE, 1, seed)
    modules = torch.from_numpy(inputs.shown(SIZE, 2, seed))
    other = modules[:1].clone()
    other[:, slot + 1 :] = modules[1:, slot + 1 :]
    with torch.inference_mode():
        torch.testing.assert_close(
            model(*page, modules[:1])[:, : slot + 1], model(*page, other)[:, : slot + 1], rtol=0, atol=1e-6
        )


@pytest.mark.parametrize(("architecture", "above"), NETWORKS)
def test_what_each_network_sees_above(architecture, above):
    """The modules; nothing where they are hidden. TRNN's LSTM alone sees their families only."""
    model = inputs.model(replace(SIZE, architecture=architecture, above=above), spread=3.0)
    page = _tensors(SIZE, 1)
    family = model.family_of.numpy()
    last = 0
    same = next(m for m in range(2, 15) if family[m] == family[1])
    other = next(m for m in range(2, 15) if family[m] not in (family[1], family[last]))
    with torch.inference_mode():
        first, second, third = (model(*page, torch.tensor([[m, last]]))[0, 1] for m in (1, same, other))
        if architecture == "trnn" and above == "chosen":
            model.fit_of_above.weight.zero_()
            by_family = [model(*page, torch.tensor([[m, last]]))[0, 1] for m in (1, same, other)]
            assert torch.equal(by_family[0], by_family[1])
            assert not torch.equal(by_family[0], by_family[2])
    assert torch.equal(first, second) == (above == "hidden")
    assert torch.equal(first, third) == (above == "hidden")


@pytest.mark.parametrize("architecture", ["trnn", "transformer"])
def test_an_empty_slot_says_nothing_of_any_module(architecture):
    """What a page looks like below a slot that was not observed does not depend on which number stands for it."""
    model = inputs.model(replace(SIZE, architecture=architecture), spread=3.0)
    page = _tensors(SIZE, 1)
    with torch.inference_mode():
        empty, first, second = (model(*page, torch.tensor([[m, 5, 3]]))[0, 1:] for m in (-1, 0, 1))
    assert not torch.equal(empty, first)
    assert not torch.equal(empty, second)


def test_networks_are_of_one_size():
    """The paper compares models of a similar number of parameters (section 7.2)."""
    count = {
        name: sum(p.numel() for p in inputs.model(Size(architecture=name)).above.parameters()) for name in ARCHITECTURES
    }
    assert count["mlp"] == pytest.approx(count["trnn"], rel=0.02)
    assert count["transformer"] == pytest.approx(count["trnn"], rel=0.1)


def test_attention_heads_must_divide_the_width():
    with pytest.raises(TrainingError, match=r"train\.width = 6"):
        inputs.model(replace(SIZE, architecture="transformer", width=6))


@pytest.mark.parametrize(
    ("architecture", "asked", "single_slots", "expected"),
    [
        ("trnn", "auto", False, "chosen"),
        ("trnn", "auto", True, "hidden"),
        ("transformer", "hidden", False, "hidden"),
        ("transformer", "chosen", True, "chosen"),
        ("mlp", "auto", False, "chosen"),
        ("mlp", "auto", True, "hidden"),
        ("mlp", "hidden", True, "hidden"),
    ],
)
def test_what_is_seen_above_follows_the_logs_unless_asked(architecture, asked, single_slots, expected):
    params = load(ROOT / "params.yaml", TrainParams).model_copy(update={"architecture": architecture, "above": asked})
    assert above_mode(params, single_slots=single_slots) == expected


def test_an_mlp_without_pairs_sees_nothing_above_and_cannot_be_asked_to():
    params = load(ROOT / "params.yaml", TrainParams).model_copy(update={"architecture": "mlp", "pairs": False})
    assert above_mode(params, single_slots=False) == "hidden"
    params = params.model_copy(update={"above": "chosen"})
    with pytest.raises(TrainingError, match=r"train\.above"):
        above_mode(params, single_slots=False)


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
        for layer in (model.heads.weight, model.fit_of_module.weight, model.fit_of_module.bias):
            layer.zero_()
        start = torch.sigmoid(model(*_tensors(SIZE, 1), shown))
    for q, head in enumerate(HEADS):
        rate = next((rates[loss] for loss, of in HEAD_OF_LOSS.items() if of == q and loss in rates), None)
        assert (head in model.config.trained_heads) == (rate is not None)
        if rate is None:
            assert untrained[..., q].max() < 1e-12
        else:
            np.testing.assert_allclose(start[0, :, q], rate, rtol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_and_loaded_model_is_the_same(tmp_path, architecture):
    model = inputs.model(replace(SIZE, architecture=architecture))
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


def test_a_model_of_an_earlier_state_says_that_it_must_be_trained_again(tmp_path):
    inputs.model(SIZE).save(tmp_path)
    values = load_file(tmp_path / "model.safetensors")
    del values["module_columns"]
    save_file(values, tmp_path / "model.safetensors")
    with pytest.raises(TrainingError, match=r"holds no model that can be read .*module_columns.* Train it"):
        load_network(tmp_path)


def test_table_of_modules_must_fit():
    model = inputs.model(SIZE)
    with pytest.raises(TrainingError, match="family is"):
        PageNetwork(replace(model.config, modules=3), _table(model))
    with pytest.raises(TrainingError, match="must lie in"):
        PageNetwork(replace(model.config, families=2), _table(model))


def _table(model):
    return ModuleTable(
        model.family_of.numpy(),
        model.module_categorical.numpy(),
        model.module_numeric.numpy(),
        model.module_tokens.numpy(),
        model.module_columns.numpy() - 1,
    )


def test_dropout_drops_counters_and_nothing_else() -> None:
    size = replace(SIZE, numerics=5)
    whole = inputs.model(size, seed=1)
    network = PageNetwork(replace(whole.config, dropout=0.9, counters=3), _table(whole))
    seen: list[torch.Tensor] = []
    network.page_fields.register_forward_hook(lambda module, arguments, _: seen.append(arguments[1]))
    pages = inputs.pages(size, 400, 1)
    numeric = torch.ones(400, 5)
    arguments = torch.from_numpy(pages.categorical), numeric, torch.from_numpy(pages.tokens)
    network.train()(*arguments, torch.from_numpy(inputs.shown(size, 400, 1)))
    assert torch.equal(seen[0][:, :2], numeric[:, :2])
    assert 0.85 < float((seen[0][:, 2:] == 0).double().mean()) < 0.95
