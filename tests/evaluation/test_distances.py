import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from pageopt.evaluation import distances as drift

counts = arrays(np.int64, 6, elements=st.integers(0, 100)).filter(lambda a: a.sum() > 0)
samples = arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1, allow_subnormal=False))


@given(counts, counts)
def test_jensen_shannon_is_scipys(p, q):
    assert drift.jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q, base=2), abs=1e-7)
    assert 0 <= drift.jensen_shannon(p, q) <= 1 + 1e-12


@given(samples, samples)
def test_distances_are_none_to_oneself_and_never_negative(a, b):
    for distance in (drift.psi, drift.jensen_shannon_of_samples, drift.wasserstein):
        assert distance(a, a) == pytest.approx(0, abs=1e-9)
        assert distance(a, b) >= -1e-12


def test_psi_by_hand():
    """Quantile bins of ten values with two bins: halves; the current sample has a quarter in the lower one."""
    reference = np.arange(10.0)
    current = np.array([0.0, 6.0, 7.0, 8.0])
    expected = (0.25 - 0.5) * np.log(0.25 / 0.5) + (0.75 - 0.5) * np.log(0.75 / 0.5)
    assert drift.psi(reference, current, bins=2) == pytest.approx(expected)


def test_psi_of_samples_that_do_not_meet_is_large_and_finite():
    assert 5 < drift.psi(np.zeros(50) + np.arange(50) / 50, np.full(50, 9.0)) < 50


def test_wasserstein_is_in_standard_deviations():
    rng = np.random.default_rng(1)
    reference = rng.normal(3, 0.01, 4000)
    assert drift.wasserstein(reference, reference + 0.02) == pytest.approx(2, rel=0.05)
    assert drift.wasserstein(reference, reference + 0.02) == pytest.approx(
        wasserstein_distance(reference, reference + 0.02) / reference.std()
    )
    assert drift.wasserstein([2.0, 2.0], [3.0, 3.0]) == pytest.approx(0.5)  # a constant: relative to its mean


def test_counts_of_nothing():
    assert drift.jensen_shannon([0, 0], [0, 0]) == 0
    assert drift.jensen_shannon([0, 0], [1, 0]) == 1


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="same categories"):
        drift.jensen_shannon([1, 2], [1])
    with pytest.raises(ValueError, match="two samples"):
        drift.psi([], [1.0])
