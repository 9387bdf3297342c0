from dataclasses import replace

import numpy as np
import pytest

from pageopt.config import RewardModelParams, RewardNetworkParams
from pageopt.errors import EvaluationError
from pageopt.evaluation.reward_model import RewardModel, page_units
from pageopt.models.common.tabular import TabularFeatures

PARAMS = RewardModelParams(folds=3, rounds=15, depth=3, learning_rate=0.3)


def _fit(encoder, log, seed=1, threads=1, params=PARAMS):
    unit = page_units(log.user_id, log.page_id)
    rewards = {"click": log.click, "purchase": log.purchase}
    return RewardModel.fit(
        encoder, log.encoded, unit, log.module, rewards, params, policies=("random",), seed=seed, threads=threads
    )


def test_rows_hold_the_lifts_of_the_modules_own_family(shop):
    encoder, log = shop.encoder(), shop.pages(20)
    features = TabularFeatures.of(encoder)
    page, slot = np.array([0, 7, 7]), np.array([0, 1, 2])
    module = np.array([0, 1, 2])  # of families deals, new, new_deals
    rows = features.rows(log.encoded, page, slot, module)
    numeric = [field.name for field in encoder.page_fields if field.kind == "numeric"]
    assert rows.shape == (3, len(features.types))
    for row, name in enumerate(("deals", "new", "new_deals")):
        for place, hours in ((-2, 1), (-1, 24)):
            column = numeric.index(f"user_family_lift_{hours}h_{name}")
            assert rows[row, place] == log.encoded.numeric[page[row], column]
    np.testing.assert_array_equal(rows[:, 0], log.encoded.categorical[page, 0])
    np.testing.assert_array_equal(rows[:, 1], module)
    np.testing.assert_array_equal(rows[:, features.types.index("q")], slot)


KINDS = ("xgboost", "mlp")


def _of(kind):
    return PARAMS.model_copy(update={"kind": kind, "rounds": 40, "network": RewardNetworkParams(epochs=15)})


@pytest.mark.parametrize("kind", KINDS)
def test_learns_the_clicks_and_scores_any_modules(shop, kind):
    encoder, log = shop.encoder(), shop.pages(3000, users=2000)
    model = _fit(encoder, log, params=_of(kind))
    other = np.roll(log.module, 1, axis=0)
    other[0] = [4, -1, 4]
    q = model.predict(log.encoded, page_units(log.user_id, log.page_id), other)
    truth = shop.click_rate(log.platform, other)
    assert q["click"][0, 1] == 0 == q["purchase"][0, 1]
    assert np.corrcoef(q["click"].ravel(), truth.ravel())[0, 1] > 0.8
    assert abs(q["click"].mean() - truth.mean()) < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_is_scored_by_a_model_that_saw_its_user(shop, kind):
    encoder, log = shop.encoder(), shop.pages(400)
    unit = page_units(log.user_id, log.page_id)
    # Scores do not change when the rewards of the page's own fold do.
    params = PARAMS.model_copy(update={"kind": kind})
    scores = _fit(encoder, log, params=params).predict(log.encoded, unit, log.module)["click"]
    own = unit % 3 == 1
    changed = replace(log, click=np.where(own[:, None], 1 - log.click, log.click))
    others = _fit(encoder, changed, params=params).predict(log.encoded, unit, log.module)["click"]
    np.testing.assert_array_equal(scores[own], others[own])
    assert (scores[~own] != others[~own]).any()


def test_a_planted_violation_is_noticed(shop):
    log = shop.pages(100)
    unit = page_units(log.user_id, log.page_id)
    model = _fit(shop.encoder(), log)
    model.check_unseen(unit, (unit % 3).astype(int))
    with pytest.raises(EvaluationError, match="fitted on their users"):
        model.check_unseen(unit, ((unit + 1) % 3).astype(int))


def test_units_are_users_and_pages_of_nobody():
    unit = page_units(
        np.array(["a", None, "a", float("nan"), "p2"], dtype=object), np.array(["p1", "p2", "p3", "p4", "p5"])
    )
    assert unit[0] == unit[2]
    assert len(set(unit.tolist())) == 4
    assert unit[0] == 3095185782240433271  # of every process and machine, as saved models rely on it


def test_saved_model_scores_the_same(shop, tmp_path):
    log = shop.pages(300)
    unit = page_units(log.user_id, log.page_id)
    model = _fit(shop.encoder(), log)
    model.save(tmp_path)
    loaded = RewardModel.load(tmp_path)
    assert loaded.policies == ("random",)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json"] * 7 + [".safetensors"] * 2
    for name, scores in model.predict(log.encoded, unit, log.module).items():
        np.testing.assert_array_equal(loaded.predict(log.encoded, unit, log.module)[name], scores)


def test_a_saved_network_scores_the_same(shop, tmp_path):
    log = shop.pages(300)
    unit = page_units(log.user_id, log.page_id)
    model = _fit(shop.encoder(), log, params=_of("mlp"))
    model.save(tmp_path)
    loaded = RewardModel.load(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"reward.json", "features.safetensors", "units.safetensors"} | {
        f"network-{n}.safetensors" for n in range(3)
    }
    unseen = np.full_like(log.module, shop.modules - 1)
    for modules in (log.module, unseen):
        for name, scores in model.predict(log.encoded, unit, modules).items():
            np.testing.assert_array_equal(loaded.predict(log.encoded, unit, modules)[name], scores)


def test_a_network_that_meets_a_value_it_has_not_seen(shop):
    """A module that no fold's log shows still gets a probability."""
    log = shop.pages(400)
    log = replace(log, module=np.where(log.module == shop.modules - 1, -1, log.module))
    model = _fit(shop.encoder(), log, params=_of("mlp"))
    unseen = np.full_like(log.module, shop.modules - 1)
    chance = model.predict(log.encoded, page_units(log.user_id, log.page_id), unseen)["click"]
    assert ((chance > 0) & (chance < 1)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_files(shop, tmp_path, kind):
    log = shop.pages(300)
    for folder in ("a", "b"):
        _fit(shop.encoder(), log, threads=2, params=_of(kind)).save(tmp_path / folder)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_no_purchase_in_the_log_predicts_none(shop, tmp_path, kind):
    log = shop.pages(200)
    log = replace(log, purchase=np.zeros_like(log.purchase))
    model = _fit(shop.encoder(), log, params=_of(kind))
    model.save(tmp_path)
    q = RewardModel.load(tmp_path).predict(log.encoded, page_units(log.user_id, log.page_id), log.module)
    assert (q["purchase"] == 0).all()
    assert (q["click"] > 0).all()


def test_errors(shop, tmp_path):
    log = shop.pages(50, users=1)  # user "u0" is null: pages are their own units
    one_user = replace(log, user_id=np.array(["only"] * 50, dtype=object))
    with pytest.raises(EvaluationError, match="nothing to learn from"):
        _fit(shop.encoder(), one_user)
    with pytest.raises(EvaluationError, match="no readable reward model"):
        RewardModel.load(tmp_path)
    model = _fit(shop.encoder(), log)
    with pytest.raises(EvaluationError, match=r"module must be \[50 pages, slots\]"):
        model.predict(log.encoded, page_units(log.user_id, log.page_id), log.module[:3])
