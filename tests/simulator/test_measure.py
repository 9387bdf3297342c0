import numpy as np
import pytest

from pageopt.errors import EvaluationError
from pageopt.simulator import truth
from pageopt.simulator.measure import share_of_knowable, static_by

RNG = np.random.default_rng(1)
STATIC = RNG.random(4000)
KNOWABLE = STATIC + 1 + RNG.normal(0, 0.3, 4000)


def test_share_by_hand() -> None:
    share = share_of_knowable(np.array([2.0, 3.0]), np.array([1.0, 1.0]), np.array([3.0, 4.0]))
    assert share.value == pytest.approx(3 / 5)
    rest = np.array([1 - 0.6 * 2, 2 - 0.6 * 3])
    assert share.high - share.value == pytest.approx(1.959964 * np.sqrt((rest**2).sum()) / 5, rel=1e-5)


def test_its_interval_holds_the_truth_and_knows_that_pages_of_a_user_go_together() -> None:
    held = {"by user": 0, "by page": 0}
    for _ in range(300):
        of_user = np.repeat(RNG.normal(0, 0.5, 100), 20)
        static, gain = RNG.random(2000), 1 + RNG.normal(0, 0.3, 2000)
        value, users = static + 0.8 * gain + of_user + RNG.normal(0, 0.3, 2000), np.repeat(np.arange(100), 20)
        for name, cluster in (("by user", users), ("by page", None)):
            share = share_of_knowable(value, static, static + gain, cluster)
            held[name] += share.low < 0.8 < share.high
    assert 0.9 < held["by user"] / 300 < 0.985
    assert held["by page"] / 300 < 0.75


def test_a_policy_surely_above_the_knowable_is_a_bug_and_says_so() -> None:
    with pytest.raises(EvaluationError, match="more than a log can tell"):
        share_of_knowable(KNOWABLE + 0.1, STATIC, KNOWABLE)
    noise = RNG.normal(0, 3, 4000)
    assert share_of_knowable(KNOWABLE + noise - noise.mean() + 0.05, STATIC, KNOWABLE).value > 1
    with pytest.raises(EvaluationError, match="no uplift"):
        share_of_knowable(STATIC, KNOWABLE, STATIC)


def test_the_static_page_is_ranked_by_what_is_judged(make_shop) -> None:
    shop = make_shop(page_effects="none")
    log = shop.logs("random", 3000)
    ids = log.pages["page_id"].to_numpy()
    earned = {by: truth.expected(log.truth, ids, static_by(log.truth, ids, by)) for by in ("click", "purchase")}
    assert earned["purchase"][1].sum() > earned["click"][1].sum()
    assert earned["click"][0].sum() > earned["purchase"][0].sum()
    # by plain means, and under no family rule but that of the first slot
    candidates = shop.catalog.candidates[np.concatenate([each.group for each in shop.contexts(3000)])]
    alone = [
        truth.expected(log.truth, ids[rows], np.full((rows.sum(), 1), module))[1].mean()
        for module in range(16)
        for rows in [(candidates == module).any(axis=1)]
    ]
    best = [max((m for m in row if m >= 0), key=lambda m: alone[m]) for row in candidates[:200].tolist()]
    assert static_by(log.truth, ids, "purchase")[:200, 0].tolist() == best
