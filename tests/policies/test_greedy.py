import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pageopt.policies.greedy import greedy_pages
from pageopt.search.beam import beam_search


@given(seed=st.integers(0, 10_000), count=st.integers(0, 6), slots=st.integers(1, 5), by_slot=st.booleans())
@settings(max_examples=60, deadline=None)
def test_is_the_reference_search_of_width_one(seed, count, slots, by_slot):
    random = np.random.default_rng(seed)
    family = random.integers(0, 3, 8)
    candidates = np.where(random.random((4, count)) < 0.8, random.random((4, 8)).argsort(1)[:, :count], -1)
    score = random.integers(0, 4, (4, slots if by_slot else 1, count)) / 10  # ties are many
    pages = greedy_pages(score, candidates, family, slots)
    for row in range(4):
        at = np.flatnonzero(candidates[row] >= 0)
        chosen = beam_search(
            lambda prefix, row=row, at=at: score[row, len(prefix) if by_slot else 0, at],
            family[candidates[row, at]],
            slots,
            1,
        ).chosen
        expected = candidates[row, at[list(chosen)]].tolist()
        assert pages[row].tolist() == expected + [-1] * (slots - len(expected))
