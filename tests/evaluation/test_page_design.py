"""Columns against loops in plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pageopt.evaluation.page_design import PageDesign
from pageopt.features.encoder import EncodedPages

FAMILY = np.array([0, 0, 1, 2, 1, 0])
ALIKE = np.array([[1, 5], [2, 5], [1, 6], [2, 6], [1, 5], [2, 5]])
SLOTS, CARDINALITIES = 4, (3, 2)


def by_hand(codes: list[int], page: list[int], slot: int, around: bool) -> dict[tuple[str, int], float]:
    """Every column that is not 0 of one module, by block and place within it."""
    module, row = page[slot], {}
    M, F = len(FAMILY), 3

    def add(block: str, column: int, value: float = 1.0) -> None:
        row[block, column] = row.get((block, column), 0.0) + value

    add("module", module)
    add("slot", slot)
    for c, code in enumerate(codes):
        add(f"context {c} module", code * M + module)
        add(f"context {c} slot", code * SLOTS + slot)
    same = 0
    for place, other in enumerate(page):
        if other < 0 or place == slot:
            continue
        for side in ("above", "around") if around else ("above",):
            if side == "above" and place > slot:
                continue
            add(side, module * M + other)
            add(f"family {side}", FAMILY[module] * F + FAMILY[other])
            for column, alike in enumerate((FAMILY[module] == FAMILY[other], *(ALIKE[module] == ALIKE[other]))):
                if alike:
                    add(f"alike {side}", column)
        if place < slot:
            add("at distance", (module * M + other) * (SLOTS - 1) + slot - place - 1)
            add("from slot", (module * M + other) * (SLOTS - 1) + place)
            same += int(FAMILY[module] == FAMILY[other])
        if place == slot - 1:
            add("right above", FAMILY[module] * F + FAMILY[other])
    add("step", same)
    if same:
        add("saturation", FAMILY[module], np.log1p(same))
    return row


@given(
    st.lists(st.permutations(range(6)), min_size=1, max_size=4),
    st.lists(st.booleans(), min_size=SLOTS, max_size=SLOTS),
    st.booleans(),
)
def test_rows_by_hand(orders: list[list[int]], shown: list[bool], around: bool) -> None:
    design = PageDesign(FAMILY, ALIKE, CARDINALITIES, SLOTS, around)
    pages = np.where(shown, np.array([order[:SLOTS] for order in orders]), -1)
    codes = np.stack([np.arange(len(pages)) % 3, np.arange(len(pages)) % 2], axis=1)
    encoded = EncodedPages(codes, np.zeros((len(pages), 0)), np.zeros((len(pages), 0, 1)))
    page, slot = np.nonzero(pages >= 0)
    matrix = design.rows(encoded, pages, page, slot).tocsr().toarray()
    assert matrix.shape == (len(page), design.columns)
    for number, (p, s) in enumerate(zip(page, slot, strict=True)):
        expected = np.zeros(matrix.shape[1])
        for (block, column), value in by_hand(codes[p].tolist(), pages[p].tolist(), int(s), around).items():
            expected[design.blocks[block].start + column] = value
        np.testing.assert_allclose(matrix[number], expected, atol=1e-12)


def test_clicks_above_come_by_slot_and_over_all() -> None:
    design = PageDesign(FAMILY, ALIKE, CARDINALITIES, SLOTS, around=False)
    encoded = EncodedPages(np.zeros((1, 2), np.int64), np.zeros((1, 0)), np.zeros((1, 0, 1)))
    page, slot = np.zeros(2, np.int64), np.array([1, 3])
    rows = design.rows(encoded, np.array([[0, 1, 2, 3]]), page, slot)
    block = rows.with_clicks(np.array([0.25, 0.5])).tocsr().toarray()[:, design.blocks["clicks"]]
    np.testing.assert_array_equal(block, [[0, 0.25, 0, 0, 0.25], [0, 0, 0, 0.5, 0.5]])
    assert block.shape[1] == SLOTS + 1


def test_a_stronger_prior_holds_pairs_and_leaves_the_context() -> None:
    design = PageDesign(FAMILY, ALIKE, CARDINALITIES, SLOTS, around=True)
    weak, strong = design.penalty(3.0), design.penalty(300.0)
    for block in ("module", "slot", "context 0 module", "context 1 slot"):
        np.testing.assert_array_equal(weak[design.blocks[block]], strong[design.blocks[block]])
    for block in ("above", "around", "at distance", "from slot", "family above", "right above", "saturation"):
        assert strong[design.blocks[block]] == pytest.approx(100 * weak[design.blocks[block]])
