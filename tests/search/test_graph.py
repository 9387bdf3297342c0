"""The search in the graph against the reference search, both driven by the same model."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from pageopt.config import SearchParams
from pageopt.errors import ConfigError
from pageopt.models.item.heads import HEADS
from pageopt.search.beam import allowed, beam_search
from pageopt.search.graph import PageGraph, decide
from pageopt.studies.bench import inputs
from pageopt.studies.bench.inputs import Size

SIZE = Size(modules=30, families=4, slots=4, width=8, embedding=4, cardinalities=(3, 6), numerics=2, vocabulary=50)

NETWORKS = [
    ("trnn", "chosen"),
    ("trnn", "hidden"),
    ("mlp", "chosen"),
    ("mlp", "hidden"),
    ("transformer", "chosen"),
    ("transformer", "hidden"),
]


def _step(model, encoded, row, candidates, head):
    """Probabilities of `candidates` below a prefix, from the pass that training uses."""
    page = [torch.from_numpy(value[row : row + 1]) for value in (encoded.categorical, encoded.numeric, encoded.tokens)]
    page = [value.expand(len(candidates), *value.shape[1:]) for value in page]

    def step(prefix):
        shown = np.column_stack([np.tile(candidates[list(prefix)], (len(candidates), 1)), candidates])
        with torch.inference_mode():
            logits = model(*page, torch.from_numpy(shown.astype(np.int64)))
        return torch.sigmoid(logits[:, -1, head].double()).numpy()

    return step


def _expected(model, encoded, row, candidates, slots, search):
    head = HEADS.index(search["objective"])
    step = _step(model, encoded, row, candidates, head)
    families = model.family_of.numpy()[candidates]
    page = beam_search(step, families, slots, search["width"], search["beam_start"])
    return candidates[list(page.chosen)], page


@pytest.mark.parametrize(("architecture", "above"), NETWORKS)
@pytest.mark.parametrize(
    "search",
    [
        {"width": 3, "beam_start": 1, "objective": "purchase"},
        {"width": 1, "beam_start": 1, "objective": "click"},
        {"width": 4, "beam_start": 3, "objective": "intent"},
        {"width": 2, "beam_start": 9, "objective": "purchase"},
    ],
)
def test_graph_decides_as_the_reference(architecture, above, search):
    model = inputs.model(replace(SIZE, architecture=architecture, above=above), seed=3, spread=4.0)
    graph = PageGraph(model, SearchParams(**search))
    random = np.random.default_rng(5)
    pages = 0
    for count in (1, 2, 3, 9, 30):
        encoded = inputs.pages(SIZE, 8, count)
        candidates = random.random((8, SIZE.modules)).argsort(1)[:, :count]
        candidates = np.where(random.random((8, count)) < 0.8, candidates, -1)
        slots = random.integers(1, SIZE.slots + 3, 8)
        decision = decide(graph, encoded, candidates, slots, batch=5)
        for row in range(8):
            offered = candidates[row][candidates[row] >= 0]
            modules, page = _expected(model, encoded, row, offered, min(slots[row], SIZE.slots), search)
            filled = len(modules)
            assert decision.modules[row].tolist() == [*modules, *[-1] * (SIZE.slots - filled)]
            assert decision.score[row] == pytest.approx(page.score, abs=1e-5)
            assert not decision.probabilities[row, filled:].any()
            pages += filled > 1
    assert pages > 15


@pytest.mark.parametrize(("architecture", "above"), NETWORKS)
def test_a_full_beam_finds_the_best_of_all_pages(architecture, above):
    """With as many beams as there are prefixes, nothing is left out: the search is exhaustive."""
    model = inputs.model(replace(SIZE, slots=3, architecture=architecture, above=above), seed=8, spread=4.0)
    graph = PageGraph(model, SearchParams(width=5 * 4, beam_start=1, objective="click"))
    encoded = inputs.pages(SIZE, 6)
    candidates = np.random.default_rng(3).random((6, SIZE.modules)).argsort(1)[:, :5]
    decision = decide(graph, encoded, candidates)
    family = model.family_of.numpy()
    for row in range(6):
        step = _step(model, encoded, row, candidates[row], HEADS.index("click"))
        chances = {prefix: step(prefix) for length in range(3) for prefix in permutations(range(5), length)}

        def score(order, chances=chances):
            return 1 - np.prod([1 - chances[order[:slot]][module] for slot, module in enumerate(order)])

        best = max(
            score(order) for order in permutations(range(5), 3) if _keeps_the_rule(order, family[candidates[row]])
        )
        assert decision.score[row] == pytest.approx(best, abs=1e-5)


def _keeps_the_rule(order, families):
    return all(order[slot] in allowed(order[:slot], families) for slot in range(len(order)))


@pytest.mark.parametrize("architecture", ["trnn", "mlp", "transformer"])
def test_probabilities_are_those_of_the_training_pass(architecture):
    model = inputs.model(replace(SIZE, architecture=architecture), seed=1, spread=4.0)
    encoded = inputs.pages(SIZE, 20)
    decision = decide(
        PageGraph(model, SearchParams(width=3, beam_start=1, objective="click")),
        encoded,
        np.tile(np.arange(30), (20, 1)),
    )
    page = [torch.from_numpy(value) for value in (encoded.categorical, encoded.numeric, encoded.tokens)]
    with torch.inference_mode():
        expected = torch.sigmoid(model(*page, torch.from_numpy(decision.modules))).numpy()
    np.testing.assert_allclose(decision.probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(decision.score, 1 - np.prod(1 - expected[..., 0], axis=1), atol=1e-6)


@pytest.mark.parametrize("architecture", ["trnn", "mlp", "transformer"])
@pytest.mark.parametrize("beam_start", [1, 2, 3])
def test_ties_go_to_the_better_beam_and_the_earlier_candidate(architecture, beam_start):
    """All candidates are equally likely, exactly: order and families alone decide."""
    model = inputs.model(replace(SIZE, architecture=architecture), seed=2)
    model.heads.weight.data.zero_()
    model.fit_of_module.weight.data.zero_()
    model.fit_of_module.bias.data.zero_()
    search = {"width": 3, "beam_start": beam_start, "objective": "purchase"}
    encoded = inputs.pages(SIZE, 20)
    candidates = np.random.default_rng(0).random((20, SIZE.modules)).argsort(1)[:, :9]
    decision = decide(PageGraph(model, SearchParams(**search)), encoded, candidates)
    for row in range(20):
        page = beam_search(
            lambda _: np.full(9, 0.05), model.family_of.numpy()[candidates[row]], SIZE.slots, 3, beam_start
        )
        assert decision.modules[row].tolist() == candidates[row][list(page.chosen)].tolist()


def test_family_rule_and_its_lifting():
    model = inputs.model(SIZE, seed=4, spread=4.0)
    family = model.family_of.numpy()
    graph = PageGraph(model, SearchParams(width=3, beam_start=1, objective="purchase"))
    encoded = inputs.pages(SIZE, 5)
    decision = decide(graph, encoded, np.tile(np.arange(30), (5, 1)))
    assert (np.diff(family[decision.modules], axis=1) != 0).all()
    alone = np.flatnonzero(family == 2)[:3]
    decision = decide(graph, encoded, np.tile(alone, (5, 1)))
    assert (decision.modules[:, :3] >= 0).all()
    assert (decision.modules[:, 3:] == -1).all()


def test_pages_without_candidates_are_empty():
    graph = PageGraph(inputs.model(SIZE), SearchParams(width=3, beam_start=1, objective="purchase"))
    encoded = inputs.pages(SIZE, 2)
    for candidates in (np.full((2, 0), -1), np.full((2, 3), -1)):
        decision = decide(graph, encoded, candidates)
        assert (decision.modules == -1).all()
        assert not decision.probabilities.any()
        assert not decision.score.any()


def test_small_probabilities_are_told_apart():
    """At P around 1e-9, 1 - (1 - φ)(1 - P) in single precision is 0 for all candidates."""
    model = inputs.model(SIZE, seed=6, spread=4.0)
    model.heads.bias.data.sub_(18)
    search = {"width": 3, "beam_start": 1, "objective": "purchase"}
    encoded = inputs.pages(SIZE, 4)
    candidates = np.tile(np.arange(12), (4, 1))
    decision = decide(PageGraph(model, SearchParams(**search)), encoded, candidates)
    for row in range(4):
        modules, _ = _expected(model, encoded, row, candidates[row], SIZE.slots, search)
        assert decision.modules[row].tolist() == modules.tolist()


def test_objective_must_have_been_trained():
    model = inputs.model(replace(SIZE, losses=("click",)))
    with pytest.raises(ConfigError, match=r"search\.objective"):
        PageGraph(model, SearchParams(width=3, beam_start=1, objective="purchase"))


def test_unknown_modules_are_refused():
    graph = PageGraph(inputs.model(SIZE), SearchParams(width=3, beam_start=1, objective="click"))
    with pytest.raises(ConfigError, match="below 30"):
        decide(graph, inputs.pages(SIZE, 1), np.array([[30]]))
