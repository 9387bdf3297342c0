import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from pageopt.errors import EvaluationError
from pageopt.evaluation.calibration import calibration
from pageopt.evaluation.estimate import UserBootstrap


def _log(rng, pages=2000, slots=3, power=1.0):
    """Chances, and labels that come with chance ** power."""
    chance = rng.beta(1, 8, size=pages * slots)
    label = rng.random(len(chance)) < chance**power
    return label, chance, np.repeat(np.arange(pages), slots)


@pytest.mark.parametrize("ties", [False, True])
def test_bins_are_those_of_scikit_learn(ties):
    label, chance, page = _log(np.random.default_rng(0), power=1.3)
    if ties:
        chance = np.round(chance, 1)  # few values, many in one bin; some bins are empty
    error, bins = calibration(label, chance, page, UserBootstrap(2000, replicates=50))
    observed, predicted = calibration_curve(label, chance, n_bins=10, strategy="quantile")
    np.testing.assert_allclose([b.observed for b in bins], observed, atol=1e-12)
    np.testing.assert_allclose([b.predicted for b in bins], predicted, atol=1e-12)
    counts = np.array([b.count for b in bins])
    assert counts.sum() == len(chance)
    assert error.value == pytest.approx((counts * np.abs(observed - predicted)).sum() / counts.sum(), abs=1e-12)
    assert all(b.low <= b.observed <= b.high for b in bins)


def test_right_probabilities_have_little_error_and_wrong_ones_much():
    right, bins = calibration(*_log(np.random.default_rng(1)), UserBootstrap(2000, replicates=200))
    label, chance, page = _log(np.random.default_rng(1))
    twice, _ = calibration(label, np.minimum(2 * chance, 1), page, UserBootstrap(2000, replicates=200))
    assert right.value < 0.015
    assert twice.value == pytest.approx(np.minimum(2 * chance, 1).mean() - label.mean(), abs=0.01)
    assert right.high < twice.low
    held = [b.low <= b.predicted <= b.high for b in bins]
    assert sum(held) >= 8


def test_intervals_are_of_users():
    rng = np.random.default_rng(2)
    label, chance, page = _log(rng, pages=400)
    label, chance, page = (
        np.repeat(label, 5),
        np.repeat(chance, 5),
        np.repeat(page * 5, 5) + np.tile(np.arange(5), 1200),
    )
    _, by_user = calibration(label, chance, page, UserBootstrap(2000, np.repeat(np.arange(400), 5), replicates=200))
    _, by_page = calibration(label, chance, page, UserBootstrap(2000, replicates=200))
    widths = [np.mean([b.high - b.low for b in bins]) for bins in (by_user, by_page)]
    assert widths[0] == pytest.approx(widths[1] * np.sqrt(5), rel=0.2)


def test_errors():
    nothing = np.array([], dtype=np.int64)
    with pytest.raises(EvaluationError, match="at least one impression; there are 0"):
        calibration(nothing.astype(bool), nothing.astype(float), nothing, UserBootstrap(1))
    with pytest.raises(EvaluationError, match=r"from 0.2 to 1.5"):
        calibration(np.array([True, False]), np.array([0.2, 1.5]), np.array([0, 0]), UserBootstrap(1))
