import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pageopt.engine.bundle import Bundle, Origin
from pageopt.models.item.heads import HEADS
from pageopt.models.item.network import load_network
from pageopt.policies.decision import Decision
from pageopt.release.gates.judging import Judge
from pageopt.release.gates.parity import Agreement, compare, reference, spread
from pageopt.search.beam import beam_search
from pageopt.workspace import Workspace


def test_an_exported_graph_agrees_with_its_model(workspace):
    found = Judge(workspace, None).parity()
    assert found.passed, found.why
    assert found.value is not None
    assert found.value < 1e-5
    assert "90 of 90 pages are the same, 0 near-ties, at 6 candidate counts (0 to 9)" in found.why


def test_a_graph_of_another_model_is_found_out(workspace, tmp_path: Path):
    mixed = Workspace(Path(shutil.copytree(workspace.root, tmp_path / "mixed")))
    model = load_network(mixed.model)
    torch.manual_seed(7)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.save(mixed.model)
    found = Judge(mixed, None).parity()
    assert not found.passed
    failed = {check.name for check in found.checks if not check.passed}
    assert {"pages", "pages of the reference search"} <= failed


def decision(modules: list[list[int]], score: list[float]) -> Decision:
    pages = np.array(modules)
    return Decision(pages, np.zeros((*pages.shape, 3), np.float32), np.array(score, np.float32))


def test_pages_that_differ_are_ties_only_if_the_search_was_as_close_as_rounding():
    first = decision([[1, 2], [1, 2], [1, 2], [1, 2]], [0.3, 0.3, 0.3, 0.3])
    second = decision([[1, 2], [2, 1], [2, 3], [3, 4]], [0.3, 0.3, 0.2, 0.2])
    gaps = {2: 1e-9, 3: 1e-3}
    assert compare(first, second, lambda page: gaps[page]) == Agreement(1, 2, 1, 0.0)


def test_probabilities_are_compared_on_the_same_pages():
    first, second = decision([[1, 2], [3, 4]], [0.1, 0.1]), decision([[1, 2], [3, 5]], [0.1, 0.4])
    second.probabilities[0, 1, 2] = 0.25
    second.probabilities[1, 0, 0] = 0.9
    assert compare(first, second, lambda page: 1.0).error == pytest.approx(0.25)


def searched(slots: int, width: int, objective: str) -> Bundle:
    """A bundle that searches so; of the rest the reference reads nothing."""
    return Bundle(
        policy="trnn",
        slots=slots,
        width=width,
        beam_start=1,
        objective=objective,
        heads=HEADS,
        trained_heads=HEADS,
        families=3,
        modules=3,
        max_candidates=3,
        static_page=(0, 1, 2),
        created_from=Origin("", "", ""),
    )


def test_the_reference_knows_how_close_its_choices_were():
    families = np.array([0, 1, 2])
    odds = np.array([0.5, 0.3, 0.3 - 1e-9])
    page, gap = reference(lambda prefix: odds, families, searched(1, 1, "purchase"))
    assert page == beam_search(lambda prefix: odds, families, 1, 1)
    assert gap == pytest.approx(0.2)
    _, gap = reference(lambda prefix: odds, families, searched(2, 1, "purchase"))
    assert gap == pytest.approx(0.5 * 1e-9, rel=1e-3)  # the second slot: (1 - 0.5) times the difference


def test_a_page_with_no_choice_has_no_close_call():
    assert reference(lambda prefix: np.array([0.5]), np.array([0]), searched(3, 3, "click"))[1] == np.inf


def test_pages_for_the_reference_cover_every_count():
    counts = np.array([3, 3, 3, 5, 5, 0, 9])
    assert counts[spread(counts, 4)].tolist() == [3, 3, 5, 5, 9]
    assert len(spread(np.zeros(3, dtype=int), 4)) == 0
