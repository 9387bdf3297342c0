import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pageopt.simulator.contexts import draw
from pageopt.simulator.model import Intent, sigmoid
from pageopt.simulator.page_effects import LAWS, PageEffects, bounded

FAMILY = np.array([0, 0, 1, 0])
PAIRS = np.array([[0, -1, 0.5, 0.2], [0.3, 0, -2, 0.1], [1, 0.4, 0, -0.7], [0.6, -0.9, 0.8, 0]], dtype=np.float32)


def by_hand(law: str, page: tuple[int, ...], slot: int) -> float:
    """The law in plain Python, for one module of one page."""
    here, total = page[slot], 0.0
    for place, other in enumerate(page):
        above = place < slot
        if place == slot or other == -1 or not (above or law == "below"):
            continue
        total += PAIRS[here, other] * (1 if above else 0.5)
    if law == "family":
        alike = sum(1 for other in page[:slot] if other != -1 and FAMILY[other] == FAMILY[here])
        total = -1.3 * math.log2(1 + alike)
    limit = 3.0 if total < 0 else 1.5
    return limit * math.tanh(total / limit)


@pytest.mark.parametrize("law", ["content", "family", "below"])
@pytest.mark.parametrize("page", [(0, 1, 2, 3), (3, 1, 0, 2), (1, -1, 0, 3)])
def test_effects_by_hand(law: str, page: tuple[int, ...]) -> None:
    effect = PageEffects(law, PAIRS, FAMILY).of_modules(np.array([page]))[0]
    for slot, module in enumerate(page):
        if module != -1:
            assert effect[slot] == pytest.approx(by_hand(law, page, slot), abs=1e-6)


@pytest.mark.parametrize("law", ["none", "clicks"])
def test_laws_without_effects_of_modules_add_nothing_before_a_click(law: str) -> None:
    assert not PageEffects(law, PAIRS, FAMILY).of_modules(np.array([[0, 1, 2, 3]])).any()


def test_clicks_that_lower_clicks_are_exact(make_shop) -> None:
    """Against the sum over every pattern of clicks."""
    shop = make_shop(page_effects="clicks", slots=4)
    intent = Intent.of(draw(shop.catalog, 0, 0, 0, 5))
    pages = np.tile([3, 7, -1, 9], (5, 1))
    click, _ = shop.model.expected(intent, pages)
    examined = shop.model.examination[intent.platform]
    log_odds = shop.model.relevance(intent, pages)
    expected = np.zeros((5, 4))
    for pattern in product([0, 1], repeat=4):
        if pattern[2]:
            continue
        chance = np.ones(5)
        for slot in (0, 1, 3):
            p = examined[:, slot] * sigmoid(log_odds[:, slot] + shop.model.effects.per_click * sum(pattern[:slot]))
            chance = chance * (p if pattern[slot] else 1 - p)
        expected += chance[:, None] * np.array(pattern)
    np.testing.assert_allclose(click, expected, rtol=1e-10)


@pytest.mark.parametrize("law", LAWS)
def test_a_log_earns_what_the_law_says(make_shop, law: str) -> None:
    """Drawn clicks have the exact chances: over many draws of one page, slot by slot."""
    shop = make_shop(page_effects=law, slots=5)
    one = Intent.of(draw(shop.catalog, 0, 0, 0, 3)).take(np.zeros(40_000, dtype=np.int64))
    pages = np.tile([3, 7, 1, 9, 4], (40_000, 1))
    expected = shop.model.expected(one.take(slice(0, 1)), pages[:1])[0][0]
    drawn = shop.model.draw(one, pages, np.random.default_rng(1).random(pages.shape)).mean(axis=0)
    np.testing.assert_allclose(drawn, expected, atol=4.5 * np.sqrt(0.25 / 40_000))


@pytest.mark.parametrize("law", LAWS)
def test_the_oracle_is_the_best_page_of_all(make_shop, law: str) -> None:
    """With as many beams as pages there are, against every order of three modules."""
    shop = make_shop(page_effects=law, slots=3, available=4, modules=6, families=6, pages=100)
    contexts = draw(shop.catalog, 0, 0, 0, 6)
    found = shop.oracle("click", width=60)(contexts)
    intent = Intent.of(contexts)
    for row in range(6):
        here = intent.take(slice(row, row + 1))
        offered = shop.catalog.candidates[contexts.group[row]]
        offered = offered[offered >= 0].tolist()
        filled = min(3, len(offered))
        best = max(
            shop.model.expected(here, np.array([page]))[0].sum()
            for page in product(offered, repeat=filled)
            if len(set(page)) == filled
        )
        assert shop.model.expected(here, found[row : row + 1])[0].sum() == pytest.approx(best, rel=1e-9)


@given(st.floats(-100, 100))
def test_page_effects_are_bounded(effect: float) -> None:
    value = float(bounded(np.array(effect)))
    assert -3.0 <= value <= 1.5
    assert abs(value) <= abs(effect) + 1e-12
