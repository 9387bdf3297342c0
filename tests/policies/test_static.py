import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pageopt.policies.static import static_page, static_pages


def test_most_popular_first_without_neighbours_of_one_family() -> None:
    families = np.array([0, 0, 1, 1, 2])
    assert static_page([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], families, 5) == [0, 2, 1, 3, 4]


def test_rule_is_lifted_when_one_family_is_left() -> None:
    families = np.array([0, 0, 0, 1])
    assert static_page([0, 1, 2, 3], [0, 1, 2, 3], families, 4) == [0, 3, 1, 2]


def test_fewer_candidates_than_slots_give_a_shorter_page() -> None:
    assert static_page([1, 0], [0, -1], np.array([0, 1]), 5) == [0]
    assert static_pages([1, 0], np.array([[0, -1]]), np.array([0, 1]), 3).tolist() == [[0, -1, -1]]


def test_pages_without_candidates_are_empty() -> None:
    assert static_page([0], [], np.array([0]), 2) == []
    assert static_pages([0], np.empty((2, 0), dtype=int), np.array([0]), 2).tolist() == [[-1, -1]] * 2


@given(data=st.data())
def test_many_pages_equal_one_by_one(data: st.DataObject) -> None:
    modules = data.draw(st.integers(1, 9))
    families = np.array(data.draw(st.lists(st.integers(0, 3), min_size=modules, max_size=modules)))
    order = data.draw(st.permutations(range(modules)))
    pages = data.draw(st.lists(st.lists(st.integers(0, modules - 1), unique=True), min_size=1, max_size=4))
    slots = data.draw(st.integers(1, 10))
    padded = np.full((len(pages), modules), -1)
    for row, candidates in enumerate(pages):
        padded[row, : len(candidates)] = candidates
    for row, shown in enumerate(static_pages(order, padded, families, slots)):
        one = static_page(order, pages[row], families, slots)
        assert shown[: len(one)].tolist() == one
        assert (shown[len(one) :] == -1).all()
        for slot in range(1, len(one)):
            left = set(pages[row]) - set(one[:slot])
            if families[one[slot]] == families[one[slot - 1]]:
                assert {families[module] for module in left} == {families[one[slot]]}
