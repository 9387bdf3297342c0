import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from pageopt.errors import EvaluationError
from pageopt.studies.experiments.lifts import lift, over_seeds, word

numbers = st.lists(st.floats(-10, 10), min_size=2, max_size=8).filter(lambda values: np.std(values) > 1e-3)


@given(numbers, st.sampled_from([0.8, 0.95]))
def test_the_interval_is_that_of_scipys_test(values, confidence):
    found = over_seeds(values, confidence)
    interval = ttest_1samp(values, 0).confidence_interval(confidence)
    assert found.value == pytest.approx(np.mean(values), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.spread == pytest.approx(np.std(values, ddof=1))


def test_lifts_are_paired_by_seed():
    found = lift([1.1, 2.2, 3.3], [1.0, 2.0, 3.0], 0.95)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    unpaired = lift([3.3, 1.1, 2.2], [1.0, 2.0, 3.0], 0.95)
    assert unpaired.value == pytest.approx(0.1)
    assert unpaired.low < 0 < unpaired.high
    assert lift([1.0, 2.0], [-1.0, 0.5], 0.95) is None


@given(st.integers(0, 2**32))
def test_the_interval_of_a_lift_covers_as_often_as_the_ratio_of_means_demands(seed):
    """Against the bootstrap over seeds, on many seeds, where both must say nearly the same."""
    random = np.random.default_rng(seed)
    second = random.uniform(1, 2, 200)
    first = second * random.normal(1.1, 0.1, 200)
    found = lift(first.tolist(), second.tolist(), 0.95)
    drawn = random.integers(0, 200, (2000, 200))
    ratios = first[drawn].mean(axis=1) / second[drawn].mean(axis=1) - 1
    assert found.value == pytest.approx(first.mean() / second.mean() - 1)
    assert (found.low, found.high) == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.006)


@pytest.mark.parametrize("values", [[1.0], [], [1.0, float("nan")]])
def test_what_has_no_interval_is_refused(values):
    with pytest.raises(EvaluationError, match="two finite numbers"):
        over_seeds(values, 0.95)


def test_numbers_that_are_not_paired_are_refused():
    with pytest.raises(EvaluationError, match="paired by seed: there are 2 and 3"):
        lift([1.0, 2.0], [1.0, 2.0, 3.0], 0.95)


@pytest.mark.parametrize(
    ("values", "paper", "said"),
    [
        ([0.10, 0.11, 0.12], 5.0, "agrees"),
        ([0.10, 0.11, 0.12], -5.0, "disagrees"),
        ([-0.10, -0.11, -0.12], -5.0, "agrees"),
        ([-0.10, -0.11, -0.12], 0.01, "disagrees"),
        ([-0.10, 0.11, 0.12], 5.0, "undecided"),
        ([0.10, 0.11, 0.12], 0.0, None),
        ([0.10, 0.11, 0.12], None, None),
    ],
)
def test_the_word_goes_by_the_sides_of_zero(values, paper, said):
    assert word(over_seeds(values, 0.95), paper) == said


def test_a_lift_that_is_not_defined_decides_nothing():
    assert word(None, 3.0) == "undecided"
