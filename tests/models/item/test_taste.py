"""What a network learns from how users have taken to families before: real counters, a real training, a real search."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pageopt.config import SearchParams, TrainParams, load
from pageopt.features.counters import HOUR, CounterLayout, UserState, page_counters
from pageopt.features.encoder import Encoder
from pageopt.features.schema import counter_fields
from pageopt.models.common.training import evaluate
from pageopt.models.item.data import PageTensors
from pageopt.models.item.fit import fit
from pageopt.search.graph import PageGraph, decide

FAMILIES = tuple("abcdef")
MODULES, SLOTS, USERS, PAGES = 18, 3, 150, 40
USUAL = 0.15
LAYOUT = CounterLayout((24,), ("click",), (), (), {"family": dict.fromkeys(FAMILIES, USUAL)}, (0.25, 720))
PARAMS = load(Path(__file__).parents[3] / "params.yaml", TrainParams).model_copy(
    update={"threads": 1, "epochs": 6, "batch_size": 128, "width": 16, "embedding": 8, "learning_rate": 0.01}
)


def logs() -> tuple[list[dict], np.ndarray, np.ndarray]:
    """Pages of users, of whom each likes some families and not others: counters as of each page, modules, clicks."""
    random = np.random.default_rng(0)
    family = np.arange(MODULES) % len(FAMILIES)
    rows, modules, clicks = [], [], []
    for _ in range(USERS):
        chance = np.clip(USUAL * np.exp(random.normal(0, 1.2, len(FAMILIES))), 0, 0.9)
        state = UserState(LAYOUT, 0)
        for page in range(PAGES):
            at_us = page * 12 * HOUR
            rows.append(page_counters(state.decayed_to(at_us), None, LAYOUT))
            shown = random.permutation(MODULES)[:SLOTS]
            clicked = random.random(SLOTS) < chance[family[shown]]
            for module, click in zip(shown, clicked, strict=True):
                state.add("shown", at_us, family=FAMILIES[family[module]])
                if click:
                    state.add("click", at_us + 1, family=FAMILIES[family[module]])
            modules.append(shown)
            clicks.append(clicked)
    return rows, np.array(modules), np.array(clicks, dtype=np.float32)


@pytest.fixture(scope="module")
def log():
    rows, modules, clicks = logs()
    columns = {name: np.array([row[name] for row in rows]) for name in LAYOUT.names}
    encoder = Encoder.fit(
        counter_fields(LAYOUT),
        columns,
        (),
        {"module_id": [f"m{n:02}" for n in range(MODULES)], "family": [FAMILIES[n % 6] for n in range(MODULES)]},
        slots=SLOTS,
        min_count=1,
        title_tokens=1,
        vocabulary=1,
    )

    def tensors(numeric: np.ndarray, mine: np.ndarray) -> PageTensors:
        encoded = encoder.encode(columns)
        return PageTensors(
            categorical=torch.from_numpy(encoded.categorical[mine]),
            numeric=torch.from_numpy(numeric[mine]),
            tokens=torch.from_numpy(encoded.tokens[mine]),
            module=torch.from_numpy(modules[mine]),
            labels={"click": torch.from_numpy(clicks[mine])},
            weights={"click": torch.ones(int(mine.sum()), SLOTS)},
        )

    user = np.repeat(np.arange(USERS), PAGES)
    own = encoder.encode(columns).numeric
    anothers = np.roll(own, 7 * PAGES, axis=0)

    def learned(numeric: np.ndarray, **params):
        train, valid = (tensors(numeric, user % 5 != 0), tensors(numeric, user % 5 == 0))
        model, _ = fit(encoder, PARAMS.model_copy(update=params), train, valid, single_slots=False)
        return model, evaluate(model, valid)["click"]

    return encoder, learned, own, anothers


@pytest.mark.parametrize("architecture", ["trnn", "mlp", "transformer"])
def test_who_clicked_much_on_a_family_gets_a_higher_chance_for_it_and_more_of_it(log, architecture) -> None:
    encoder, learned, own, _ = log
    model, _ = learned(own, architecture=architecture)
    fan, critic = (UserState(LAYOUT, 0) for _ in range(2))
    for state, clicks in ((fan, 30), (critic, 0)):
        state.add("shown", 0, family=dict.fromkeys(FAMILIES, 60.0))
        for name in FAMILIES[1:]:
            state.add("click", 0, family={name: 60 * USUAL})
        state.add("click", 0, family={"c": float(clicks)})
    rows = [page_counters(state.decayed_to(24 * HOUR), None, LAYOUT) for state in (fan, critic)]
    encoded = encoder.encode({name: [row[name] for row in rows] for name in LAYOUT.names})
    page = (torch.from_numpy(array) for array in (encoded.categorical, encoded.numeric, encoded.tokens))
    of_c, of_d = 2, 3
    with torch.inference_mode():
        chance = torch.sigmoid(model(*page, torch.tensor([[of_c, of_d, 0]] * 2)))[..., 0].numpy()
    assert chance[0, 0] > 1.5 * chance[1, 0]
    assert chance[:, 1] == pytest.approx(chance[::-1, 1], rel=0.35)
    graph = PageGraph(model, SearchParams(width=3, beam_start=1, objective="click"))
    chosen = decide(graph, encoded, np.tile(np.arange(MODULES), (2, 1))).modules
    assert chosen[0, 0] % len(FAMILIES) == of_c
    searched = decide(graph, encoded, np.array([[of_c]] * 2)).probabilities[:, 0, 0]
    np.testing.assert_allclose(searched, chance[:, 0], atol=1e-6)


def test_another_users_counters_gain_nothing(log) -> None:
    _, learned, own, anothers = log
    mine, theirs, nobodys = (learned(numeric)[1] for numeric in (own, anothers, np.zeros_like(own)))
    assert mine < 0.98 * nobodys
    assert theirs > 0.998 * nobodys
