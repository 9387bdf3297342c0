from dataclasses import replace

import numpy as np
import pytest

from pageopt.simulator import Shop
from pageopt.studies.coverage.judged_shop import ALIKE, MOST_CLICKED, JudgedShop
from pageopt.studies.coverage.settings import Settings

SETTINGS = replace(Settings(), training_pages=4000)


@pytest.fixture(scope="module")
def world():
    return JudgedShop.build(SETTINGS, "none")


def test_logs_share_the_shop_and_nothing_else(world):
    one, again, other = world.log(5, 800), world.log(5, 800), world.log(6, 800)
    np.testing.assert_array_equal(one.pages.click, again.pages.click)
    assert (one.pages.module != other.pages.module).any()
    assert one.values[MOST_CLICKED] != other.values[MOST_CLICKED]
    assert len(one.pages) == 800
    assert one.pages.user_id[one.pages.user_id != None].size > 700  # noqa: E711 - elementwise


def test_pages_are_random_orders_of_the_candidates(world):
    pages = world.log(7, 6000).pages
    available = (pages.candidates >= 0).sum(axis=1)
    np.testing.assert_allclose(pages.propensity, np.repeat(1 / available[:, None], 5, axis=1))
    assert all(len(set(row)) == 5 for row in pages.module)
    # Each candidate of a group is as often on top: counts within 4 standard errors of equal shares.
    first = pages.module[(pages.candidates == pages.candidates[0]).all(axis=1), 0]
    candidates = pages.candidates[0][pages.candidates[0] >= 0]
    counts = np.array([(first == module).sum() for module in candidates])
    expected = len(first) / len(candidates)
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()


def test_clicks_come_as_often_as_the_shop_says(world):
    log = world.log(8, 20_000)
    shop = Shop(world.catalog.params, SETTINGS.seed)
    random = shop.true_value("random", 20_000)  # other people, so as near as their chance allows
    assert log.pages.click.sum(axis=1).mean() == pytest.approx(random.ctr, rel=0.1)
    assert (log.pages.purchase <= log.pages.click).all()


def test_targets_are_available_pages_that_keep_or_break_the_family_rule(world):
    family = world.catalog.modules.family
    for name, pages in world.targets.items():
        assert all(set(page) <= set(available) for page, available in zip(pages, world.catalog.candidates, strict=True))
        assert all(len(set(page)) == 5 for page in pages), name
    kept = family[world.targets[MOST_CLICKED]]
    assert (kept[:, 1:] != kept[:, :-1]).mean() > 0.9
    broken = family[world.targets[ALIKE]]
    assert (broken[:, 1] == broken[:, 0]).mean() > 0.5


def test_the_truth_is_the_mean_over_other_peoples_visits(world):
    truth = world.truth(MOST_CLICKED, seed=900, pages=100_000)["ctr"]
    own = np.array([world.log(seed, 2000).values[MOST_CLICKED]["ctr"] for seed in range(20, 50)])
    error = np.hypot(own.std(ddof=1) / np.sqrt(len(own)), truth.standard_error)
    assert own.mean() == pytest.approx(truth.value, abs=4 * error)
    assert 0 < truth.standard_error < 0.01
