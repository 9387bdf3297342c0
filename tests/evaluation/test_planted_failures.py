"""Failures planted in a simulated log; each is noticed by a diagnostic, and the sound log raises no warning."""

from dataclasses import replace

import numpy as np
import pytest

from pageopt.evaluation.compare import LoggedPages
from pageopt.evaluation.estimate import UserBootstrap
from pageopt.evaluation.reward_check import check_reward_model
from pageopt.evaluation.reward_model import RewardModel, page_units
from pageopt.evaluation.weights import diagnose, match_weights
from pageopt.studies.coverage.judged_shop import MOST_CLICKED, JudgedShop
from pageopt.studies.coverage.settings import Settings

SETTINGS = Settings()
PARAMS = SETTINGS.evaluate.model_copy(update={"bootstrap": 100, "max_weight": 200.0})


@pytest.fixture(scope="module")
def world():
    return JudgedShop.build(SETTINGS, "none")


@pytest.fixture(scope="module")
def log(world):
    """Pages of a simulated log and what the policy shows on them."""
    found = world.log(seed=77, pages=8000)
    return found.pages, found.targets[MOST_CLICKED]


@pytest.fixture(scope="module")
def reward_model(world, log):
    pages, _ = log
    return RewardModel.fit(
        world.encoder,
        pages.encoded,
        page_units(pages.user_id, pages.page_id),
        pages.module,
        {"click": pages.click, "purchase": pages.purchase},
        PARAMS.reward_model.model_copy(update={"rounds": 80, "depth": 5}),
        policies=("random",),
        seed=1,
        threads=1,
    )


def _diagnosed(pages, target, reward_model, params=PARAMS):
    logged = LoggedPages(pages, reward_model, params)
    return diagnose(logged.value(target).weights, logged.bootstrap(), logged.available)


def test_a_sound_log_raises_no_warning(log, reward_model):
    pages, target = log
    found = _diagnosed(pages, target, reward_model)
    assert found.warnings == []
    assert found.consistent
    assert found.groups.by in ("wanted module", "modules available")
    checks = LoggedPages(pages, reward_model, PARAMS).check_reward_model()
    assert [check.warnings for check in checks.values()] == [[], []]
    click = checks["click"]
    assert click.loss_in_sample < click.loss == click.loss_cross_fitted < click.loss_constant
    assert abs(click.residual_share) < 0.02


@pytest.mark.parametrize("seed", range(12))
def test_sound_logs_of_other_people_raise_none_either(world, seed):
    sound = world.log(seed=1000 + seed, pages=3000)
    pages, target = sound.pages, sound.targets[MOST_CLICKED]
    weights = match_weights(target, pages.module, pages.propensity, target >= 0, 200)
    found = diagnose(weights, UserBootstrap(len(pages), pages.user_id), (pages.candidates >= 0).sum(axis=1))
    assert found.warnings == []


def test_propensities_twice_too_large_in_one_slot(log, reward_model):
    pages, target = log
    wrong = pages.propensity.copy()
    wrong[:, 1] *= 2
    found = _diagnosed(replace(pages, propensity=wrong), target, reward_model)
    assert not found.consistent
    assert any("in slot 2" in warning and "wrong propensities" in warning for warning in found.warnings)
    assert found.slots[1].mean == pytest.approx(0.5, abs=0.05)


def test_propensities_shuffled_between_pages(log, reward_model):
    """Over all pages their mean weight is nearly 1; by the number of modules available it is not."""
    pages, target = log
    order = np.random.default_rng(0).permutation(len(pages))
    found = _diagnosed(replace(pages, propensity=pages.propensity[order]), target, reward_model)
    assert abs(found.mean_weight - 1) < 0.1
    assert any("modules available" in warning for warning in found.warnings)


def test_propensities_of_a_policy_with_favourites_shuffled_between_modules():
    """A log of unequal chances whose propensities were joined to the wrong modules."""
    rng = np.random.default_rng(1)
    chances = np.array([0.35, 0.25, 0.15, 0.1, 0.08, 0.07])
    shown = rng.choice(6, size=(6000, 2), p=chances)
    target = np.stack([np.arange(6000) % 6, (np.arange(6000) + 3) % 6], axis=1)

    def diagnosed(propensity):
        weights = match_weights(target, shown, propensity, np.ones(shown.shape, dtype=bool), 1000)
        return diagnose(weights, UserBootstrap(6000))

    assert diagnosed(chances[shown]).warnings == []
    found = diagnosed(chances[rng.permutation(6)][shown])
    assert any("wanted module" in warning for warning in found.warnings)


def test_weights_cut_hard_and_a_log_too_small(log, reward_model):
    pages, target = log
    found = _diagnosed(pages, target, reward_model, PARAMS.model_copy(update={"max_weight": 6.0}))
    assert any("were cut at max_weight" in warning for warning in found.warnings)
    few = np.arange(60)
    small = replace(
        pages,
        **{name: getattr(pages, name)[few] for name in ("page_id", "user_id", "policy", "module", "propensity")},
        **{name: getattr(pages, name)[few] for name in ("click", "purchase", "candidates")},
        encoded=pages.encoded.take(few),
    )
    found = _diagnosed(small, target[few], reward_model)
    assert any("pages of the policy's own traffic" in warning for warning in found.warnings)


def test_pages_that_never_agree_with_the_policy(log, reward_model):
    pages, target = log
    elsewhere = np.where(pages.module == target, -1, target)  # what the log happens to show is left out
    found = _diagnosed(pages, elsewhere, reward_model)
    assert any("agree with the policy anywhere" in warning for warning in found.warnings)


def test_a_reward_model_fitted_on_its_own_test_pages(world, log, reward_model):
    """One fold short: q̂ of models that saw the pages passes for the cross-fitted one."""
    pages, _ = log
    logged = LoggedPages(pages, reward_model, PARAMS)
    unit = page_units(logged.user_id, pages.page_id[logged.rows])
    leaking = reward_model.predict_in_sample(logged.encoded, unit, logged.module)["click"]
    honest = reward_model.predict(logged.encoded, unit, logged.module)["click"]
    shown = logged.module >= 0
    reward = pages.click[logged.rows].astype(np.float64)
    found = check_reward_model("click", reward, leaking, honest, leaking, shown, logged.bootstrap())
    assert len(found.warnings) == 1
    assert "it was fitted on them" in found.warnings[0]
    assert check_reward_model("click", reward, honest, honest, leaking, shown, logged.bootstrap()).warnings == []


def test_a_reward_model_that_is_off(log, reward_model):
    pages, _ = log
    logged = LoggedPages(pages, reward_model, PARAMS)
    unit = page_units(logged.user_id, pages.page_id[logged.rows])
    honest = reward_model.predict(logged.encoded, unit, logged.module)["click"]
    shown, reward = logged.module >= 0, pages.click[logged.rows].astype(np.float64)
    found = check_reward_model("click", reward, 1.5 * honest, honest, honest, shown, logged.bootstrap())
    assert any("off by +50 %" in w or "off by +5" in w or "off by +4" in w for w in found.warnings)
    wild = np.where(np.random.default_rng(0).random(honest.shape) < 0.5, 0.9, 0.01)
    found = check_reward_model("click", reward, wild, wild, wild, shown, logged.bootstrap())
    assert any("worse than its mean" in warning for warning in found.warnings)
