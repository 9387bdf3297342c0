"""What a network learns that does not know the slot, against the means that it must settle at."""

from pathlib import Path

import numpy as np
import pytest

from pageopt.config import SearchParams, TrainParams, load
from pageopt.features.slot_bias import SlotBias
from pageopt.studies.rankers.network import NetworkRanker
from pageopt.studies.rankers.slot_blind import SlotBlind

ROOT = Path(__file__).parents[3]
EXAMINED = np.array([1, 1 / 2, 1 / 3, 1 / 4])
CURVE = {"all": EXAMINED.tolist()}
BIAS = SlotBias(4, [], CURVE, CURVE, views={})
FITS = 0.5 * 0.75  # clicks on what fits the page, in the first slot


def blind(encoder, bias=None, on_labels=False) -> SlotBlind:
    params = load(ROOT / "params.yaml", TrainParams).model_copy(
        update={
            "architecture": "mlp",
            "pairs": False,
            "threads": 1,
            "epochs": 2,
            "batch_size": 256,
            "width": 16,
            "embedding": 8,
            "learning_rate": 0.01,
            "losses": ("click", "purchase"),
        }
    )
    search = SearchParams(width=1, beam_start=1, objective="click")
    network = NetworkRanker(encoder, params, search, single_slots=True)
    return SlotBlind(network, encoder, "click", bias, 10, on_labels=on_labels)


@pytest.mark.parametrize(
    ("bias", "on_labels", "settles_at"),
    [
        (None, False, EXAMINED.mean()),
        (BIAS, False, 1 / (1 / EXAMINED).mean()),  # clicks a view, where a view counts 1/θ: the harmonic mean
        (BIAS, True, 1.0),
    ],
    ids=["plain", "weights", "labels"],
)
def test_it_learns_one_chance_whatever_the_slot(shop, bias, on_labels, settles_at):
    ranker = blind(shop.encoder, bias, on_labels)
    ranker.fit(shop.train, shop.valid)
    score = ranker.score(shop.test)[..., 0]
    shoes = (shop.test.fields["hero_category"] == "shoes")[:, None]
    fits = ((shop.test.module < 6) == shoes) & shop.test.observed
    assert score[fits].mean() == pytest.approx(FITS * settles_at, rel=0.1)
    by_slot = [score[:, slot][fits[:, slot]].mean() for slot in range(4)]
    assert by_slot == pytest.approx([np.mean(by_slot)] * 4, rel=0.1)


def test_its_pages_are_those_of_the_best_modules(shop):
    ranker = blind(shop.encoder)
    ranker.fit(shop.train, shop.valid)
    pages = ranker.page(shop.test.encoded, shop.test.candidates)
    earned = shop.chance(shop.test, pages).sum(axis=1).mean()
    assert earned > 0.85 * FITS * EXAMINED.sum()
