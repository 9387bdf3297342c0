"""The page-aware q̂ and what is made of it: derivatives, corrections, and values whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from pageopt.errors import EvaluationError
from pageopt.evaluation.page_check import check_production, score_test
from pageopt.evaluation.page_reward import PageReward
from pageopt.evaluation.page_values import PageValues
from pageopt.evaluation.reward_model import fold_of, page_units
from pageopt.features.pages import Pages

FOLDS = 3
ALIKE = np.array([0, 3, 6])  # all of the family "deals"


def effects(encoder, modules: np.ndarray) -> np.ndarray:
    """True P(click) `[P, K]`: a module is clicked half the time, and one time in ten below one of its family."""
    family = np.asarray(encoder.module_family)[modules]
    below = np.stack([(family[:, :s] == family[:, s : s + 1]).any(axis=1) for s in range(modules.shape[1])], axis=1)
    return np.where(below, 0.1, 0.5)


@pytest.fixture(scope="module")
def world(shop):
    enc, log = shop.encoder(), shop.pages(6000, users=4000, seed=3)
    chance = effects(enc, log.module)
    rng = np.random.default_rng(5)
    click = (rng.random(chance.shape) < chance).astype(np.float32)
    purchase = click * (rng.random(chance.shape) < 0.3)
    log = replace(log, click=click, purchase=purchase.astype(np.float32))
    random = np.flatnonzero(log.policy == "random")
    fold = fold_of(page_units(log.user_id[random], log.page_id[random]), FOLDS)
    model = PageReward.fit(
        enc, log.encoded.take(random), fold, log.module[random], log.click[random], log.purchase[random]
    )
    return enc, log, random, fold, model


@pytest.fixture(scope="module")
def values(world) -> PageValues:
    _, log, random, fold, model = world
    return _values(log, random, fold, model)


def _values(log: Pages, random, fold, model) -> PageValues:
    rewards = {"click": log.click[random].astype(float), "purchase": log.purchase[random].astype(float)}
    return PageValues.of(model, log.encoded.take(random), fold, log.module[random], rewards)


def _weights(log: Pages, random, page: np.ndarray) -> np.ndarray:
    return (log.module[random] == page) / log.propensity[random]


def test_a_page_of_alike_modules_is_seen_for_what_it_is(world, values) -> None:
    enc, log, random, _, _ = world
    pages = np.tile(ALIKE, (len(random), 1))
    got = values.contributions(pages, _weights(log, random, ALIKE))
    truth = effects(enc, ALIKE[None])[0].sum()  # 0.7
    for reward, share in (("click", 1.0), ("purchase", 0.3)):
        error = got[reward].std() / np.sqrt(len(random))
        assert got[reward].mean() == pytest.approx(share * truth, abs=4 * error)
    assert 4 * got["click"].std() / np.sqrt(len(random)) < 1.2 - truth  # an estimate by slot says nearly 1.3
    spread = effects(enc, np.array([[0, 1, 2]])).sum()
    other = np.tile([0, 1, 2], (len(random), 1))
    got = values.contributions(other, _weights(log, random, np.array([0, 1, 2])))["click"]
    assert got.mean() == pytest.approx(spread, abs=4 * got.std() / np.sqrt(len(random)))


def test_the_score_is_small_for_what_sees_the_page_and_large_for_what_does_not(world, values) -> None:
    _, log, random, _, _ = world
    by_slot = np.full(values.logged.shape, log.click[random].mean(axis=0))
    users = log.user_id[random]
    assert score_test(values, values.rows.click, users) < 2.5
    assert score_test(values, by_slot, users) > 10


def test_gradients_are_those_of_finite_differences(world, values) -> None:
    """Through the clicks expected above, which are made to matter."""
    _, log, random, fold, model = world
    rng = np.random.default_rng(1)
    some = random[:40]
    fitted = list(model.folds)
    for number, each in enumerate(fitted):
        clicks = each.clicks.copy()
        clicks[model.design.blocks["clicks"]] = -0.8
        fitted[number] = replace(each, clicks=clicks)
    model = replace(model, folds=tuple(fitted))
    few = _values(log, some, fold[:40], model)
    worth = rng.random(few.logged.shape)
    got = few.gradients(few.rows, fold[:40], [worth])
    step = 1e-5
    for column in rng.choice(model.design.blocks["clicks"].start, 25, replace=False):
        for number, each in enumerate(model.folds):
            sums = []
            for sign in (1, -1):
                moved = each.clicks.copy()
                moved[column] += sign * step
                folds = [*model.folds]
                folds[number] = replace(each, clicks=moved)
                rows = replace(model, folds=tuple(folds)).rows(few.encoded, fold[:40], few.logged)
                sums.append((worth * rows.click)[fold[:40] == number].sum())
            assert got[number, column, 0] == pytest.approx((sums[0] - sums[1]) / (2 * step), abs=1e-6)


def test_alpha_takes_back_what_an_error_of_the_model_does(world, values) -> None:
    """A small error δ of β moves a sum by gᵀδ, and Σ α·(r − q̂) by minus that, where the log has seen the direction."""
    _, log, random, fold, model = world
    target = model.rows(log.encoded.take(random), fold, np.tile(ALIKE, (len(random), 1)))
    ones = np.ones(values.logged.shape)
    weight = _weights(log, random, ALIKE)
    gradients = values.gradients(target, fold, [ones]) - values.gradients(values.rows, fold, [weight])
    alpha = values.alpha(gradients[..., 0], 100.0)
    slope = values.rows.click * (1 - values.rows.click)
    for number in range(FOLDS):
        own = fold == number
        here = np.flatnonzero(own[values.rows.page])
        at = values.rows.page[here], values.rows.slot[here]
        moved = values.rows.matrix[here].T @ (alpha * slope)[at]  # −dΣ α·(r − q̂)/dβ
        step = model.design.blocks["step"]  # directions that every page has seen
        for column in range(step.start, step.start + 3):
            size = np.abs(gradients[number, step, 0]).max()
            assert moved[column] == pytest.approx(gradients[number, column, 0], abs=0.15 * size)


def test_production_is_estimated_as_it_earned_and_a_wrong_log_is_noticed(world, values) -> None:
    enc, log, random, _, model = world
    own = np.flatnonzero(log.policy == "production")
    fold = fold_of(page_units(log.user_id[own], log.page_id[own]), FOLDS)
    module = np.tile(ALIKE, (len(own), 1))
    rng = np.random.default_rng(2)
    click = (rng.random(module.shape) < effects(enc, module)).astype(float)
    rows = model.rows(log.encoded.take(own), fold, module)
    users = log.user_id[random]
    found = check_production(values, users, rows, fold, module, click, log.user_id[own])
    assert found is not None
    assert not found.off
    assert found.logged == pytest.approx(click.sum(axis=1).mean())
    assert found.estimated == pytest.approx(0.7, abs=0.12)
    lost = check_production(values, users, rows, fold, module, 0.5 * click, log.user_id[own])
    assert lost is not None
    assert lost.off
    assert check_production(values, users, rows, fold[:100], module[:100], click[:100], log.user_id[own][:100]) is None


def test_the_same_pages_give_the_same_file_and_it_reads_back(world, tmp_path) -> None:
    enc, log, random, fold, model = world
    again = PageReward.fit(
        enc, log.encoded.take(random), fold, log.module[random], log.click[random], log.purchase[random]
    )
    for name, each in (("a", model), ("b", again)):
        each.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    read = PageReward.load(tmp_path / "a")
    one, two = (each.rows(log.encoded.take(random[:50]), fold[:50], log.module[random[:50]]) for each in (model, read))
    np.testing.assert_array_equal(one.click, two.click)
    np.testing.assert_array_equal(one.conversion, two.conversion)
    with pytest.raises(EvaluationError, match="no page-aware reward model"):
        PageReward.load(tmp_path / "nothing")


def test_a_log_without_clicks_teaches_nothing(world) -> None:
    enc, log, random, fold, _ = world
    nothing = np.zeros_like(log.click[random])
    with pytest.raises(EvaluationError, match="no click to learn from"):
        PageReward.fit(enc, log.encoded.take(random), fold, log.module[random], nothing, nothing)
