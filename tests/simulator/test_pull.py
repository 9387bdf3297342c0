from dataclasses import replace

import numpy as np
import pytest

from pageopt.config import ShopParams
from pageopt.simulator import Shop
from pageopt.simulator.contexts import Contexts, draw
from pageopt.simulator.model import Intent
from pageopt.simulator.pull import VARIANCE

SHOP = {
    "pages": 40_000, "days": 1, "users": 3000, "items": 2000, "categories": 12, "modules": 60, "families": 12,
    "slots": 8, "available": 20, "traffic": {"random": 1.0}, "propensity_samples": 1,
}  # fmt: skip


def centred(log_odds: np.ndarray) -> np.ndarray:
    """Less what a visit adds to every module, and what every visit adds to a module."""
    of_visit = log_odds - log_odds.mean(axis=1, keepdims=True)
    return of_visit - of_visit.mean(axis=0)


def fits(shop: Shop, contexts: Contexts) -> np.ndarray:
    modules = np.tile(np.arange(shop.params.modules), (len(contexts), 1))
    return shop.model.fit(Intent.of(contexts), modules)


@pytest.mark.parametrize(("personal", "mood"), [(0.0, 0.1), (0.5, 0.1), (0.75, 0.0), (0.25, 0.25)])
def test_shares_of_the_pull_are_those_asked_for(personal: float, mood: float) -> None:
    """Over visits drawn in two shops: with and without the person, and what no mission and page explain."""
    shares = []
    for seed in (11, 12):
        shop = Shop(ShopParams.model_validate(SHOP | {"personal": personal, "mood": mood}), seed)
        catalog, contexts = shop.catalog, draw(shop.catalog, 0, 0, 0, 40_000)
        whole = centred(fits(shop, contexts))
        family = catalog.family_pull(contexts.person)[:, catalog.modules.family]
        content = catalog.pull.taste * catalog.people.taste[contexts.person] @ catalog.modules.content.T
        shown = whole - centred(family) - centred(content)
        drawn = catalog.pull.mood * np.random.default_rng(0).normal(size=(40_000, 8)) @ catalog.modules.content.T
        shares.append([part.var() / VARIANCE for part in map(centred, (whole, family, content, shown, drawn))])
    whole, family, content, rest, of_mood = np.mean(shares, axis=0)
    assert whole == pytest.approx(1, abs=0.06)
    assert family == pytest.approx(personal / 2, abs=0.03)
    assert content == pytest.approx(personal / 2, abs=0.03)
    assert rest == pytest.approx(1 - personal, abs=0.06)
    assert of_mood == pytest.approx(mood, abs=0.01)


def swapped(shop: Shop) -> Shop:
    """The same shop and visits, each by somebody with another's tastes and preferences."""
    people = shop.catalog.people
    order = np.roll(np.arange(shop.params.users), 1)
    other = Shop(shop.params, shop.seed)
    other.catalog = replace(
        shop.catalog,
        people=replace(
            people, taste=people.taste[order], family=people.family[order], preference=people.preference[order]
        ),
    )
    return other


def test_where_nothing_is_personal_visits_do_not_depend_on_who_comes(make_shop) -> None:
    shop = make_shop(personal=0.0)
    ours, others = (draw(of.catalog, 0, 0, 0, 3000) for of in (shop, swapped(shop)))
    assert np.array_equal(ours.hero_item, others.hero_item)
    assert np.array_equal(fits(shop, ours), fits(shop, others))


def test_where_taste_is_personal_they_do(make_shop) -> None:
    shop = make_shop(personal=0.5)
    ours, others = (draw(of.catalog, 0, 0, 0, 3000) for of in (shop, swapped(shop)))
    assert (ours.hero_item != others.hero_item).mean() > 0.3
    assert np.corrcoef(fits(shop, ours).ravel(), fits(shop, others).ravel())[0, 1] < 0.8


def test_mood_shows_in_nothing_that_is_looked_at(make_shop) -> None:
    calm, moody = (draw(make_shop(mood=mood).catalog, 0, 0, 0, 3000) for mood in (0.0, 0.25))
    for shown in ("category", "wish", "hero_item", "ts"):
        assert np.array_equal(getattr(calm, shown), getattr(moody, shown))
    assert not np.allclose(calm.direction, moody.direction)
