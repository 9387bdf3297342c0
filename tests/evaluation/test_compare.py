from dataclasses import replace

import numpy as np
import pytest

from pageopt.config import EvaluateParams, RewardModelParams
from pageopt.errors import EvaluationError
from pageopt.evaluation.compare import (
    LoggedPages,
    compare,
    counted_slots,
    exploration_policies,
    exploration_rows,
    judging_policies,
    support,
)
from pageopt.evaluation.reward_model import RewardModel, page_units

PARAMS = EvaluateParams(
    seed=1,
    threads=1,
    bootstrap=200,
    confidence=0.95,
    max_weight=100,
    reward_model=RewardModelParams(folds=2, rounds=20, depth=3, learning_rate=0.3),
)


def _reward_model(shop, pages, policies=("random",)):
    rows = exploration_rows(pages, policies)
    return RewardModel.fit(
        shop.encoder(),
        pages.encoded.take(rows),
        page_units(pages.user_id[rows], pages.page_id[rows]),
        pages.module[rows],
        {"click": pages.click[rows], "purchase": pages.purchase[rows]},
        PARAMS.reward_model,
        policies=policies,
        seed=1,
        threads=1,
    )


def _value(pages, model, modules, params=PARAMS):
    logged = LoggedPages(pages, model, params)
    return logged.value(modules[logged.rows])


def _good_page(shop, pages):
    """What pleases each platform, `[P, K]`."""
    app, web = np.array([0, 2, 4]), np.array([1, 3, 5])
    return np.where((pages.platform == "app")[:, None], app, web)[:, : shop.slots]


def test_estimates_find_the_true_value_and_the_true_difference(shop):
    pages = shop.pages(12_000, users=6000)
    model = _reward_model(shop, pages)
    good, same = _good_page(shop, pages), np.tile([0, 2, 4], (len(pages), 1))
    better, static = (_value(pages, model, modules) for modules in (good, same))
    bootstrap = LoggedPages(pages, model, PARAMS).bootstrap()
    for value, modules in ((better, good), (static, same)):
        truth = shop.click_rate(pages.platform, modules)[value.rows].sum(axis=1).mean()
        for contribution, bound in ((value.ctr, 0.12), (value.click.ips, 0.12), (value.click.dm, 0.25)):
            assert bootstrap.mean(contribution).value == pytest.approx(truth, abs=bound)
        assert bootstrap.mean(value.ptr).value == pytest.approx(truth / 4, abs=0.08)
    gain = compare(better, static, PARAMS)
    assert gain.ctr.absolute.low > 0.2
    assert gain.ctr.relative is not None
    assert gain.ctr.relative.low > 0.2


def test_contributions_are_the_formula(shop):
    pages = shop.pages(200)
    model = _reward_model(shop, pages)
    modules = _good_page(shop, pages)
    value = _value(pages, model, modules)
    rows = value.rows
    assert set(pages.policy[rows]) == {"random"}
    unit = page_units(pages.user_id[rows], pages.page_id[rows])
    encoded = pages.encoded.take(rows)
    q_target = model.predict(encoded, unit, modules[rows])["click"]
    q_logged = model.predict(encoded, unit, pages.module[rows])["click"]
    weight = (modules[rows] == pages.module[rows]) / pages.propensity[rows]
    expected = (q_target + weight * (pages.click[rows] - q_logged)).sum(axis=1)
    np.testing.assert_allclose(value.ctr, expected, atol=1e-12)
    assert value.click.matched == pages.click[rows][modules[rows] == pages.module[rows]].sum()


def test_weights_are_clipped(shop):
    pages = shop.pages(100)
    params = PARAMS.model_copy(update={"max_weight": 5.0})
    value = _value(pages, _reward_model(shop, pages), _good_page(shop, pages), params)
    assert value.weights.raw.max() == pytest.approx(9)
    assert value.weights.clipped.max() == 5 == value.click.weight.max()


def test_cascade_weights_come_from_uniform_orders_only(shop):
    pages = shop.pages(400)
    model = _reward_model(shop, pages)
    logged = LoggedPages(pages, model, PARAMS.model_copy(update={"max_cascade_weight": 50.0}))
    assert logged.no_cascade is None
    value = logged.value(logged.module)
    np.testing.assert_allclose(value.cascade, np.tile([9, 50, 50], (len(logged), 1)))  # 9, 9·8, 9·8·7 cut at 50
    assert logged.value_of_marginals(np.full((shop.slots, shop.modules), 1 / shop.modules)).cascade is None
    single = shop.pages(400, single=True)
    logged = LoggedPages(single, _reward_model(shop, single), PARAMS)
    assert "one slot a page" in logged.no_cascade
    assert logged.value(np.zeros_like(logged.module)).cascade is None


def test_a_log_of_single_slots_judges_the_observed_slot_only(shop):
    pages = shop.pages(9000, users=9000, single=True)
    model = _reward_model(shop, pages)
    modules = _good_page(shop, pages)
    value = _value(pages, model, modules)
    assert value.single
    observed = pages.observed[value.rows]
    np.testing.assert_array_equal(counted_slots(pages.module[value.rows]), observed)
    assert ((value.click.q_target > 0) == observed).all()
    truth = shop.click_rate(pages.platform, modules)[value.rows][observed].mean()
    assert value.ctr.mean() == pytest.approx(truth, abs=0.08)


def test_marginals_of_one_page_are_that_page(shop):
    pages = shop.pages(300)
    logged = LoggedPages(pages, _reward_model(shop, pages), PARAMS)
    page = np.array([3, 1, 8])
    probability = np.zeros((shop.slots, shop.modules))
    probability[np.arange(shop.slots), page] = 1
    certain = logged.value(np.tile(page, (len(logged), 1)))
    stochastic = logged.value_of_marginals(probability)
    np.testing.assert_allclose(stochastic.ctr, certain.ctr, atol=1e-12)
    np.testing.assert_allclose(stochastic.ptr, certain.ptr, atol=1e-12)
    np.testing.assert_array_equal(stochastic.weights.filled, certain.weights.filled)


def test_the_logging_policy_is_worth_what_it_earned(shop):
    pages = shop.pages(300)
    logged = LoggedPages(pages, _reward_model(shop, pages), PARAMS)
    uniform = np.full((shop.slots, shop.modules), 1 / shop.modules)
    value = logged.value_of_marginals(uniform)
    np.testing.assert_allclose(value.weights.raw, 1)
    assert value.click.ips.mean() == pytest.approx(pages.click[logged.rows].sum(axis=1).mean())


def test_shorter_pages_fill_fewer_slots(shop):
    pages = shop.pages(100)
    modules = _good_page(shop, pages)
    modules[:, 2] = -1
    value = _value(pages, _reward_model(shop, pages), modules)
    assert (value.weights.filled[:, 2] == 0).all()
    assert (value.click.q_target[:, 2] == 0).all()
    assert (value.weights.raw[:, 2] == 0).all()


def test_policies_that_log_and_policies_held_out(shop):
    pages = shop.pages(40)
    mixed = replace(pages, policy=np.array(["random", "bts", "production", "thompson"] * 10, dtype=object))
    assert exploration_policies(mixed) == ("bts", "random", "thompson")
    assert exploration_policies(mixed, ["bts"]) == ("random", "thompson")
    rows = exploration_rows(mixed, ("random", "thompson"))
    assert set(rows % 4) == {0}  # the fourth of the tiny world has no propensities


def test_support_is_the_share_of_modules_a_policy_shows(shop):
    pages = shop.pages(4000)
    assert support(pages, "random") == pytest.approx(1.0)
    assert support(pages, "production") is None
    # A policy that shows the first three modules only, unevenly.
    rng = np.random.default_rng(0)
    chances = np.array([0.6, 0.3, 0.1])
    narrow = rng.choice(3, size=pages.module.shape, p=chances)
    log = replace(pages, module=narrow, propensity=chances[narrow], policy=np.full(4000, "thompson", dtype=object))
    assert support(log, "thompson") == pytest.approx(3 / shop.modules, rel=0.05)
    assert support(replace(log, candidates=None), "thompson") is None


def test_estimators_use_policies_that_show_everything():
    assert judging_policies({"random": 1.01, "thompson": 0.3}) == ("random",)
    assert judging_policies({"random": 1.01, "thompson": 0.95}) == ("random", "thompson")
    assert judging_policies({"thompson": 0.3, "other": 0.4, "blind": None}) == ("other",)
    assert judging_policies({"blind": None}) == ()


def test_errors(shop):
    pages = shop.pages(60)
    model = _reward_model(shop, pages)
    with pytest.raises(EvaluationError, match=r"modules has shape \(\d+, 2\), but the log has \(\d+, 3\)"):
        _value(pages, model, pages.module[:, :2])
    with pytest.raises(EvaluationError, match="No page of the 60 to evaluate on was logged with propensities"):
        exploration_rows(pages, ("thompson",))
    broken = replace(pages, propensity=np.where(pages.policy[:, None] == "random", 1.5, np.nan))
    with pytest.raises(EvaluationError, match=r"propensity\[0, 0\] is 1.5"):
        _value(broken, model, pages.module)
    one = _value(pages, model, pages.module)
    with pytest.raises(EvaluationError, match="same pages only"):
        compare(one, replace(one, rows=one.rows[::-1]), PARAMS)
