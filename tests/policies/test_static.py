import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pageopt.policies.static import static_order, static_pages


def test_order_is_by_popularity_with_ties_to_the_earlier() -> None:
    assert static_order(np.array([0.1, 0.3, 0.1, 0.5, 0.3])).tolist() == [3, 1, 4, 0, 2]


@pytest.mark.parametrize(
    ("families", "page"),
    [
        ([0, 0, 1, 1, 2], [0, 2, 1, 3, 4]),  # no two neighbours of one family
        ([0, 0, 0, 0, 1], [0, 4, 1, 2, 3]),  # the rule is lifted when one family is left
    ],
)
def test_most_popular_first_under_the_family_rule(families: list[int], page: list[int]) -> None:
    candidates = np.arange(5)[None]
    assert static_pages([0, 1, 2, 3, 4], candidates, np.array(families), 5).tolist() == [page]


def test_fewer_candidates_than_slots_give_a_shorter_page() -> None:
    assert static_pages([1, 0], np.array([[0, -1]]), np.array([0, 1]), 3).tolist() == [[0, -1, -1]]


def test_pages_without_candidates_are_empty() -> None:
    assert static_pages([0], np.empty((2, 0), dtype=int), np.array([0]), 2).tolist() == [[-1, -1]] * 2


@given(data=st.data())
def test_many_pages_equal_one_by_one(data: st.DataObject) -> None:
    """One by one in plain Python: the first in order that is not of the family above, else the first."""
    modules = data.draw(st.integers(1, 9))
    families = np.array(data.draw(st.lists(st.integers(0, 3), min_size=modules, max_size=modules)))
    order = data.draw(st.permutations(range(modules)))
    pages = data.draw(st.lists(st.lists(st.integers(0, modules - 1), unique=True), min_size=1, max_size=4))
    slots = data.draw(st.integers(1, 10))
    padded = np.full((len(pages), modules), -1)
    for row, candidates in enumerate(pages):
        padded[row, : len(candidates)] = candidates
    for candidates, shown in zip(pages, static_pages(order, padded, families, slots), strict=True):
        left = [module for module in order if module in candidates]
        page: list[int] = []
        while left and len(page) < slots:
            others = [module for module in left if not page or families[module] != families[page[-1]]]
            page.append((others or left)[0])
            left.remove(page[-1])
        assert shown.tolist() == page + [-1] * (slots - len(page))
