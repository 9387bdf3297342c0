import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from pageopt.errors import EvaluationError
from pageopt.experiments.lifts import lift, over_seeds, word

numbers = st.lists(st.floats(-10, 10), min_size=2, max_size=8).filter(lambda values: np.std(values) > 1e-3)


@given(numbers, st.sampled_from([0.8, 0.95]))
def test_the_interval_is_that_of_scipys_test(values, confidence):
    found = over_seeds(values, confidence)
    interval = ttest_1samp(values, 0).confidence_interval(confidence)
    assert found.value == pytest.approx(np.mean(values), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.spread == pytest.approx(np.std(values, ddof=1))


def test_lifts_are_paired_by_seed():
    found = lift([1.1, 2.4, 3.3], [1.0, 2.0, 3.0], 0.95)
    assert found.by_seed == pytest.approx((0.1, 0.2, 0.1))
    assert lift([1.0, 2.0], [0.0, 1.0], 0.95) is None


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
