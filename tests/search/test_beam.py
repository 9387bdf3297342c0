from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pageopt.errors import ConfigError
from pageopt.search.beam import beam_search


def _scorer(seed, candidates):
    """Probabilities that depend on the whole prefix, drawn once for each."""

    def step(prefix):
        return np.random.default_rng((seed, *prefix)).random(candidates)

    return step


def _keeps_the_rule(page, families):
    """No two neighbours of one family, unless nothing else was left at that moment."""
    for slot in range(1, len(page)):
        if families[page[slot]] == families[page[slot - 1]]:
            left = [f for position, f in enumerate(families) if position not in page[:slot]]
            if any(f != families[page[slot - 1]] for f in left):
                return False
    return True


def _score(page, step):
    miss = 1.0
    for slot, candidate in enumerate(page):
        miss *= 1 - step(page[:slot])[candidate]
    return 1 - miss


pages = st.tuples(st.integers(0, 10_000), st.lists(st.integers(0, 2), min_size=1, max_size=5), st.integers(1, 6))


@given(pages)
@settings(max_examples=60, deadline=None)
def test_full_width_finds_the_best_of_all_pages(case):
    seed, families, slots = case
    step = _scorer(seed, len(families))
    length = min(slots, len(families))
    every = [page for page in permutations(range(len(families)), length) if _keeps_the_rule(page, families)]
    found = beam_search(step, np.array(families), slots, width=len(every))
    assert found.score == pytest.approx(max(_score(page, step) for page in every), abs=1e-12)
    assert found.score == pytest.approx(_score(found.chosen, step), abs=1e-12)
    assert found.chosen in every


@given(pages, st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_any_page_found_is_valid(case, width, beam_start):
    seed, families, slots = case
    found = beam_search(_scorer(seed, len(families)), np.array(families), slots, width, beam_start)
    assert len(found.chosen) == min(slots, len(families))
    assert len(set(found.chosen)) == len(found.chosen)
    assert _keeps_the_rule(found.chosen, families)


@given(pages)
@settings(max_examples=30, deadline=None)
def test_width_one_takes_the_best_of_each_slot(case):
    seed, families, slots = case
    step = _scorer(seed, len(families))
    chosen: tuple[int, ...] = ()
    for _ in range(min(slots, len(families))):
        options = [c for c in range(len(families)) if c not in chosen and _keeps_the_rule((*chosen, c), families)]
        chosen = (*chosen, max(options, key=lambda c: step(chosen)[c]))
    assert beam_search(step, np.array(families), slots, width=1).chosen == chosen
    assert beam_search(step, np.array(families), slots, width=4, beam_start=slots + 1).chosen == chosen


def test_beam_finds_what_greedy_misses():
    def step(prefix):
        if not prefix:
            return np.array([0.5, 0.4, 0.1])
        return np.array([0.9, 0.9, 0.9]) if prefix[0] == 1 else np.array([0.1, 0.1, 0.1])

    families = np.array([0, 1, 2])
    assert beam_search(step, families, 2, width=1).chosen == (0, 1)
    assert beam_search(step, families, 2, width=2).chosen == (1, 0)
    assert beam_search(step, families, 2, width=2).score == pytest.approx(1 - 0.6 * 0.1)
    assert beam_search(step, families, 2, width=2, beam_start=2).chosen == (0, 1)


def test_ties_go_to_the_better_page_then_the_earlier_candidate():
    assert beam_search(lambda _: np.full(4, 0.25), np.arange(4), 3, width=3).chosen == (0, 1, 2)
    families = np.array([0, 0, 1, 1])
    assert beam_search(lambda _: np.full(4, 0.25), families, 4, width=2).chosen == (0, 2, 1, 3)


def test_rule_is_lifted_when_one_family_is_left():
    probability = np.array([0.1, 0.2, 0.3, 0.9])
    assert beam_search(lambda _: probability, np.array([0, 0, 0, 1]), 4, width=1).chosen == (3, 2, 1, 0)


def test_fewer_candidates_than_slots():
    assert beam_search(lambda _: np.array([0.5]), np.array([0]), 5, width=3) == ((0,), 0.5)
    assert beam_search(lambda _: np.array([]), np.array([], dtype=int), 5, width=3) == ((), 0.0)


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"width": 0}, {"beam_start": 0}])
def test_names_the_wrong_argument(wrong):
    arguments = {"slots": 2, "width": 1, "beam_start": 1} | wrong
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        beam_search(lambda _: np.array([0.5]), np.array([0]), **arguments)


@pytest.mark.parametrize("answer", [np.array([0.5]), np.array([0.5, np.nan]), np.array([0.5, 1.5])])
def test_refuses_what_is_no_probability(answer):
    with pytest.raises(ConfigError, match="step"):
        beam_search(lambda _: answer, np.array([0, 1]), 2, width=1)
