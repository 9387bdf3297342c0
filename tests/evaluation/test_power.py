import numpy as np
import pytest
from scipy.stats import norm

from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import UserBootstrap
from pageopt.evaluation.offpolicy import paired
from pageopt.evaluation.power import (
    detectable_difference,
    pages_needed,
    planned_variance,
    power_of,
    variance_by_unit,
)


def test_textbook_figures():
    # Two-sided 5 %, power 80 %: (1.95996 + 0.84162)² = 7.84888
    assert detectable_difference(4.0, 100) == pytest.approx(2.801585 * 0.2, abs=1e-5)
    assert pages_needed(4.0, 0.1) == int(np.ceil(7.848880 * 400))
    assert pages_needed(1.0, detectable_difference(1.0, 5000)) in (5000, 5001)


def test_that_many_pages_have_that_much_power():
    rng = np.random.default_rng(0)
    variance, lift = 2.0, 0.2
    pages = pages_needed(variance, lift)
    means = rng.normal(lift, np.sqrt(variance), (4000, pages)).mean(axis=1)
    seen = np.mean(means / np.sqrt(variance / pages) > norm.ppf(0.975))
    assert seen == pytest.approx(0.8, abs=0.03)


def test_planned_variance_is_that_of_two_policies_that_never_agree():
    rng = np.random.default_rng(1)
    pages, modules, slots = 200_000, 20, 3
    rate = np.array([0.06, 0.04, 0.03])
    shown = rng.integers(0, modules, (pages, slots))
    click = rng.random((pages, slots)) < rate
    contribution = (click * ((shown == 4).astype(float) - (shown == 7)) * modules).sum(axis=1)
    assert planned_variance(rate, np.full(3, 1 / modules)) == pytest.approx(contribution.var(), rel=0.05)


def test_variance_allows_for_users():
    rng = np.random.default_rng(2)
    value = np.repeat(rng.normal(size=2000), 4)
    by_user = variance_by_unit(value, UserBootstrap(8000, np.repeat(np.arange(2000), 4)))
    assert by_user == pytest.approx(4 * variance_by_unit(value, UserBootstrap(8000)), rel=1e-9)
    assert variance_by_unit(value, UserBootstrap(8000)) == pytest.approx(value.var())


@pytest.mark.parametrize(("gain", "word"), [(0.5, "better: CTR"), (-0.5, "worse: CTR"), (0.0, "not enough evidence")])
def test_the_verdict_in_words(gain, word):
    rng = np.random.default_rng(3)
    second = rng.exponential(size=500)
    first = second + gain + rng.normal(0, 1, 500)
    bootstrap = UserBootstrap(500, replicates=200)
    power = power_of(first, second, paired(first, second, bootstrap), bootstrap, metric="CTR", events=50)
    assert power.verdict.startswith(word)
    assert power.detectable_relative == pytest.approx(power.detectable / second.mean())
    assert power.pages_needed["10%"] == pages_needed(power.variance, 0.1 * second.mean())
    if not gain:
        assert f"a change of 10% needs {power.pages_needed['10%']:,}" in power.verdict


def test_few_rewards_are_no_evidence_whatever_the_interval_says():
    first, second = np.zeros(300), np.full(300, 0.2)
    bootstrap = UserBootstrap(300, replicates=100)
    difference = paired(first, second, bootstrap)
    assert difference.absolute.high < 0
    power = power_of(first, second, difference, bootstrap, metric="CTR", events=9)
    assert power.verdict.startswith("not enough evidence: CTR")
    assert "only 9 rewards on 300 pages" in power.verdict


def test_a_baseline_of_zero_has_no_relative_figures():
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=200), np.zeros(200)
    bootstrap = UserBootstrap(200, replicates=100)
    power = power_of(first, second, paired(first, second, bootstrap), bootstrap, metric="PTR", events=50)
    assert power.pages_needed == {}
    assert power.detectable_relative is None
    assert "not above zero on 200 pages" in power.verdict


@pytest.mark.parametrize(
    "call",
    [
        lambda: detectable_difference(-1, 10),
        lambda: detectable_difference(1, 0),
        lambda: detectable_difference(1, 10, power=1),
        lambda: pages_needed(1, 0),
        lambda: planned_variance([0.1], [0]),
        lambda: planned_variance([-0.1], [0.5]),
    ],
)
def test_errors(call):
    with pytest.raises(EvaluationError, match="not"):
        call()
