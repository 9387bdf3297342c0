from dataclasses import replace

import numpy as np
import pytest

from pageopt.errors import ConfigError, TrainingError
from pageopt.features.slot_bias import SlotBias
from pageopt.studies.rankers.boosted_trees import BoostedTrees, TreeParams

CURVE = {"all": [1.0, 0.5, 0.2, 0.1]}
STEEP = SlotBias(4, [], CURVE, CURVE, views={})


def test_slot_weights_change_what_is_learned(shop):
    """With weights the deep slots count more, so the trees are nearer to what is clicked there."""
    deep = {}
    for bias in (None, STEEP):
        ranker = BoostedTrees(shop.encoder, TreeParams(rounds=15), slot_bias=bias)
        ranker.fit(shop.train, shop.valid)
        deep[bias is None] = ranker.score(shop.train)[:, 3]
    assert not np.array_equal(deep[True], deep[False])


def test_the_slot_is_a_feature(shop):
    ranker = BoostedTrees(shop.encoder, TreeParams(rounds=30))
    ranker.fit(shop.train, shop.valid)
    same = replace(shop.test, module=np.tile(shop.test.module[:, :1], (1, 4)))
    by_slot = ranker.score(same)[..., 0].mean(0)
    truth = shop.chance(same, same.module).mean(0)
    np.testing.assert_allclose(by_slot, truth, rtol=0.25)


@pytest.mark.parametrize(
    ("losses", "objective"),
    [(("click",), "purchase"), (("purchase", "attributed"), "purchase"), (("click", "purchase"), "intent")],
)
def test_losses_must_train_the_objective_and_each_head_once(shop, losses, objective):
    with pytest.raises(ConfigError, match="each head once"):
        BoostedTrees(shop.encoder, TreeParams(), losses=losses, objective=objective)


def test_labels_that_are_all_the_same_are_refused(shop):
    ranker = BoostedTrees(shop.encoder, TreeParams(), losses=("click", "intent"), objective="click")
    with pytest.raises(TrainingError, match="'intent' is 0"):
        ranker.fit(shop.train, shop.valid)
    with pytest.raises(TrainingError, match="Call fit"):
        ranker.page(shop.test.encoded, shop.test.candidates)
