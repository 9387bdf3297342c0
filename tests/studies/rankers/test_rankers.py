"""What all rankers promise, and that each earns what it can know."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pageopt.config import SearchParams, TrainParams, load
from pageopt.features.slot_bias import SlotBias
from pageopt.studies.rankers.boosted_trees import BoostedTrees, TreeParams
from pageopt.studies.rankers.impersonal import Impersonal
from pageopt.studies.rankers.network import NetworkRanker
from pageopt.studies.rankers.popularity import SegmentPopularity, Shuffled, Static

ROOT = Path(__file__).parents[3]
CURVE = {"all": [1.0, 0.5, 0.33, 0.25]}
BIAS = SlotBias(4, [], CURVE, CURVE, views={})
SEARCH = SearchParams(width=2, beam_start=1, objective="click")


def _network(encoder, architecture, slot_bias=None, **changes):
    small = {"threads": 1, "epochs": 2, "batch_size": 128, "width": 16, "embedding": 8, "learning_rate": 0.01}
    params = load(ROOT / "params.yaml", TrainParams).model_copy(update=small | changes | {"architecture": architecture})
    return NetworkRanker(encoder, params, SEARCH, slot_bias=slot_bias)


MAKE = {
    "static": Static,
    "random": lambda encoder: Shuffled(encoder, seed=3),
    "segment": lambda encoder: SegmentPopularity(encoder, objective="click", prior_views=50),
    "xgboost": lambda encoder: BoostedTrees(encoder, TreeParams(), objective="click"),
    "xgboost+ips": lambda encoder: BoostedTrees(encoder, TreeParams(), objective="click", slot_bias=BIAS),
    "trnn": lambda encoder: _network(encoder, "trnn"),
    "mlp+ips": lambda encoder: _network(encoder, "mlp", BIAS),
    "transformer": lambda encoder: _network(encoder, "transformer"),
    "xgboost, not personalised": lambda encoder: Impersonal(
        BoostedTrees(encoder, TreeParams(), objective="click"), encoder
    ),
}


@pytest.fixture(scope="module")
def fitted(shop):
    rankers = {name: make(shop.encoder) for name, make in MAKE.items()}
    for ranker in rankers.values():
        ranker.fit(shop.train, shop.valid)
    return rankers


@pytest.mark.parametrize("name", MAKE)
def test_pages_follow_the_rules(shop, fitted, name):
    """Candidates only, each once, the family rule, and pages as long as there are candidates."""
    ranker, family = fitted[name], shop.encoder.module_family
    random = np.random.default_rng(0)
    for count in (1, 3, 7, 12):
        candidates = random.random((50, 12)).argsort(1)[:, :count]
        candidates = np.where(random.random(candidates.shape) < 0.8, candidates, -1)
        pages = ranker.page(shop.test.encoded.take(slice(50)), candidates)
        assert pages.shape == (50, shop.encoder.slots)
        for page, offered in zip(pages, candidates, strict=True):
            shown = page[page >= 0]
            assert len(shown) == min((offered >= 0).sum(), len(page))
            assert (page[: len(shown)] >= 0).all()
            assert len(set(shown)) == len(shown)
            assert set(shown) <= set(offered)
            for slot in range(1, len(shown)):
                left = set(offered[offered >= 0]) - set(shown[:slot])
                others = [module for module in left if family[module] != family[shown[slot - 1]]]
                assert family[shown[slot]] != family[shown[slot - 1]] or not others


@pytest.mark.parametrize("name", MAKE)
def test_scores_are_probabilities_of_what_was_shown(shop, fitted, name):
    score = fitted[name].score(shop.test)
    assert score.shape == (*shop.test.module.shape, 3)
    assert score.dtype == np.float64
    assert not score[~shop.test.observed].any()
    assert ((score >= 0) & (score <= 1)).all()
    shown = shop.test.observed
    # On average they say what happens, as far as two epochs teach; IPS changes what the average is taken over.
    if "ips" not in name:
        truth = shop.chance(shop.test, shop.test.module)[shown].mean()
        assert score[shown][:, 0].mean() == pytest.approx(truth, rel=0.2)
        assert score[shown][:, 2].mean() == pytest.approx(truth * shop.buys, rel=0.25)


@pytest.mark.parametrize("name", ["random", "segment", "xgboost+ips", "transformer"])
def test_the_same_pages_give_the_same_bits(shop, fitted, name):
    again = MAKE[name](shop.encoder)
    again.fit(shop.train, shop.valid)
    np.testing.assert_array_equal(again.score(shop.test), fitted[name].score(shop.test))
    pages = [ranker.page(shop.test.encoded, shop.test.candidates) for ranker in (again, fitted[name])]
    np.testing.assert_array_equal(*pages)


def test_who_knows_more_earns_more(shop, fitted):
    """True clicks a page: random < static < what knows the category; the static page fits one category only by luck."""
    earned = {
        name: shop.chance(shop.test, ranker.page(shop.test.encoded, shop.test.candidates)).sum(1).mean()
        for name, ranker in fitted.items()
    }
    best = 0.5 * 0.75 * (1 + 1 / 2 + 1 / 3 + 1 / 4)
    assert earned["random"] < 0.75 * best
    for name in ("segment", "xgboost", "xgboost+ips", "trnn", "mlp+ips", "transformer", "xgboost, not personalised"):
        # Weights make the deep slots' few clicks count several times: less bias, but as much noise as in fewer pages.
        assert earned[name] > (0.85 if "ips" in name else 0.93) * best, name
        assert earned[name] > earned["static"] * 1.2


def test_pointwise_pages_are_slot_by_slot_the_best(shop, fitted):
    """Against a plain loop over slots and candidates, from the scores the ranker itself gives."""
    ranker, family = fitted["xgboost"], shop.encoder.module_family
    some = slice(0, 15)
    encoded, candidates = shop.test.encoded.take(some), shop.test.candidates[some]
    chance = np.empty((15, 4, 12))
    for module in range(12):
        pages = replace(shop.test, encoded=encoded, module=np.full((15, 4), module), page_id=np.arange(15))
        chance[..., module] = ranker.score(pages)[..., 0]
    for row, page in enumerate(ranker.page(encoded, candidates)):
        left = set(range(12))
        for slot, module in enumerate(page):
            may = [m for m in left if slot == 0 or family[m] != family[page[slot - 1]]]
            assert chance[row, slot, module] == max(chance[row, slot, m] for m in may)
            left.remove(module)
