import numpy as np
import pytest

from pageopt.studies.rankers.popularity import Static, overall_rates, segment_rates


def test_rates_are_weighted_counts_pulled_toward_the_prior(shop):
    pages = shop.pages(200, 7)
    rates = overall_rates(pages, 12, 20.0)
    segment = shop.pages(200, 7).encoded.categorical[:, 1]
    by_segment = segment_rates(pages, segment, 4, rates, 20.0)
    views, clicks = np.zeros((4, 12)), np.zeros((4, 12))
    for row in range(200):
        for slot in range(4):
            if (module := pages.module[row, slot]) >= 0:
                views[segment[row], module] += pages.weight[row]
                clicks[segment[row], module] += pages.weight[row] * pages.click[row, slot]
    mean = clicks.sum() / views.sum()
    expected = (clicks.sum(0) + 20 * mean) / (views.sum(0) + 20)
    np.testing.assert_allclose(rates[:, 0], expected)
    np.testing.assert_allclose(by_segment[..., 0], (clicks + 20 * expected) / (views + 20))


def test_only_exploration_counts_where_there_is_any(shop):
    random, production = shop.pages(100, 7), shop.pages(100, 8, "production")
    mixed = shop.pages(100, 7)
    mixed.policy[50:] = "production"
    half = overall_rates(mixed, 12, 20.0)
    assert not np.array_equal(half, overall_rates(random, 12, 20.0))
    mixed.click[50:] = 1
    np.testing.assert_array_equal(overall_rates(mixed, 12, 20.0), half)
    assert overall_rates(production, 12, 20.0)[:, 0].max() > 0


@pytest.mark.parametrize("objective", ["click", "purchase"])
def test_the_static_page_is_the_same_for_everybody(shop, objective):
    ranker = Static(shop.encoder, objective=objective)
    ranker.fit(shop.train, shop.valid)
    pages = ranker.page(shop.test.encoded, shop.test.candidates)
    assert (pages == pages[0]).all()
    rates = overall_rates(shop.train, 12, 200.0)[:, ["click", "intent", "purchase"].index(objective)]
    assert pages[0, 0] == rates.argmax()
