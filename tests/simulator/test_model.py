from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pageopt.simulator.contexts import draw
from pageopt.simulator.model import ClickModel, Intent


@pytest.fixture(scope="module")
def intent(shop) -> Intent:
    return Intent.of(draw(shop.catalog, 0, 0, 0, 40))


def pages_of(order: list[int], count: int) -> np.ndarray:
    return np.tile(np.array(order), (count, 1))


def test_probabilities_by_hand(shop, intent) -> None:
    """Slot by slot and pair by pair, in plain Python."""
    model, catalog = shop.model, shop.catalog
    page = [3, 7, -1, 9]
    click, purchase = model.expected(intent, pages_of(page, 40))
    relevance = model.relevance(intent, pages_of(page, 40))
    conversion = model.conversion(intent, pages_of(page, 40))
    for row in range(40):
        above: list[int] = []
        for slot, module in enumerate(page):
            if module == -1:
                assert click[row, slot] == purchase[row, slot] == 0
                continue
            effect = sum(float(catalog.interaction[module, other]) for other in above)
            limit = 3.0 if effect < 0 else 1.5
            logit = float(relevance[row, slot]) + limit * np.tanh(effect / limit)
            expected = model.examination[intent.platform[row], slot] / (1 + np.exp(-logit))
            assert click[row, slot] == pytest.approx(expected, rel=1e-5)
            assert purchase[row, slot] == pytest.approx(expected * conversion[row, slot], rel=1e-5)
            above.append(module)


def test_only_modules_above_count(shop, intent) -> None:
    one, _ = shop.model.expected(intent, pages_of([3, 7, 1, 9], 40))
    other, _ = shop.model.expected(intent, pages_of([3, 7, 12, 5], 40))
    assert np.array_equal(one[:, :2], other[:, :2])


@given(st.permutations(range(4)))
def test_without_page_effects_the_order_of_other_modules_is_irrelevant(plain, order: list[int]) -> None:
    model, intent = plain
    click, purchase = model.expected(intent, pages_of([*order, 9], len(intent.stage)))
    reference = model.expected(intent, pages_of([0, 1, 2, 3, 9], len(intent.stage)))
    assert np.array_equal(click[:, -1], reference[0][:, -1])
    assert np.array_equal(purchase[:, -1], reference[1][:, -1])


@pytest.fixture(scope="module")
def plain(make_shop) -> tuple[ClickModel, Intent]:
    shop = make_shop(page_effects="none", slots=5)
    return shop.model, Intent.of(draw(shop.catalog, 0, 0, 0, 20))


def test_page_effects_matter_where_they_are_on(shop, intent) -> None:
    last = [shop.model.expected(intent, pages_of([*order, 9], 40))[0][:, -1] for order in permutations([0, 4, 8])]
    without = shop.model.expected(intent, pages_of([-1, -1, -1, 9], 40))[0][:, -1]
    assert not np.allclose(last[0], without, rtol=1e-3)


def test_examination_falls_from_slot_to_slot(shop) -> None:
    assert (np.diff(shop.model.examination, axis=1) < 0).all()
    assert shop.model.examination.max() <= 1


def test_slot_bias_says_how_fast_examination_fades(make_shop) -> None:
    one, none, strong = (make_shop(slot_bias=bias).model.examination for bias in (1.0, 0.0, 3.0))
    assert np.array_equal(one, make_shop().model.examination)
    assert np.array_equal(none, np.repeat(one[:, :1], one.shape[1], axis=1))
    # 1/examination is a straight line in the slot; its slope is what the param multiplies.
    np.testing.assert_allclose(one[:, :1] / strong - 1, 3 * (one[:, :1] / one - 1), rtol=1e-12)
    assert (strong[:, 1:] < one[:, 1:]).all()


def test_purchases_after_a_click_have_the_odds_that_were_asked_for(make_shop) -> None:
    usual, rare = make_shop(), make_shop(purchases=0.25)
    intent = Intent.of(draw(usual.catalog, 0, 0, 0, 40))
    pages = pages_of([1, 2, 5], 40)
    before, after = (shop.model.conversion(intent, pages) for shop in (usual, rare))
    np.testing.assert_allclose(after / (1 - after), 0.25 * before / (1 - before), rtol=1e-6)
    np.testing.assert_array_equal(*(shop.model.expected(intent, pages)[0] for shop in (usual, rare)))
