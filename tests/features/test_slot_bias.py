import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pageopt.errors import ContractError
from pageopt.features.slot_bias import SlotBias, examination_curves, relative_examination, smoothed_examination


def test_the_formula() -> None:
    theta = relative_examination(np.array([100, 200, 50]), np.array([10, 10, 1]))
    np.testing.assert_allclose(theta, [1.0, 0.5, 0.2])


@pytest.mark.parametrize(
    ("views", "clicks", "expected"),
    [
        ([0, 10, 10], [0, 5, 1], [1, 1, 1]),
        ([10, 10, 10], [0, 5, 1], [1, 1, 1]),
        ([10, 10, 0, 0], [4, 2, 0, 0], [1, 0.5, 0.5, 0.5]),
        ([10, 10], [4, 0], [1, 0]),
        ([0], [0], [1]),
    ],
)
def test_zeros(views, clicks, expected) -> None:
    np.testing.assert_allclose(relative_examination(np.array(views), np.array(clicks)), expected)


@given(arrays(np.int64, 6, elements=st.integers(0, 10**9)), arrays(np.float64, 6, elements=st.floats(0, 1)))
def test_always_finite_and_one_at_the_top(views, share) -> None:
    theta = relative_examination(views, np.floor(views * share))
    assert theta[0] == 1
    assert np.isfinite(theta).all()
    assert (theta >= 0).all()


@pytest.mark.parametrize(("views", "clicks"), [([], []), ([1, 2], [1]), ([-1], [0]), ([1.0], [np.nan]), ([[1]], [[1]])])
def test_bad_counts(views, clicks) -> None:
    with pytest.raises(ContractError):
        relative_examination(np.array(views), np.array(clicks))


def test_smoothing_goes_from_the_prior_to_the_data() -> None:
    prior = np.array([1.0, 0.6, 0.3])
    views, clicks = np.full(3, 1000.0), np.array([100.0, 20.0, 80.0])
    np.testing.assert_allclose(smoothed_examination(views, clicks, prior, 0), [1, 0.2, 0.8])
    np.testing.assert_allclose(smoothed_examination(views, clicks, prior, 1e12), prior, rtol=1e-6)
    np.testing.assert_allclose(smoothed_examination(views * 0, clicks * 0, prior, 100), prior)
    middle = smoothed_examination(views, clicks, prior, 1000)
    assert 0.2 < middle[1] < 0.6


def test_thin_platforms_follow_the_pooled_curve() -> None:
    random = np.random.default_rng(0)
    truth = np.array([1, 0.7, 0.5, 0.3])
    views = {"web": np.full(4, 500_000.0), "app": np.full(4, 20.0)}
    clicks = {name: random.binomial(v.astype(int), 0.1 * truth) for name, v in views.items()}
    curves = examination_curves(views, clicks, smoothing_views=500, slots=4)
    assert list(curves) == ["all", "app", "web"]
    np.testing.assert_allclose(curves["all"], truth, atol=0.02)
    np.testing.assert_allclose(curves["app"], truth, atol=0.15)
    assert examination_curves({}, {}, 200, 3) == {"all": [1, 1, 1]}


def test_weights_by_platform() -> None:
    click, purchase = {"all": [1.0, 0.5], "app": [1.0, 0.01]}, {"all": [1.0, 0.0]}
    bias = SlotBias(2, ["app"], click, purchase, views={"all": [1, 1]})
    platform = np.array(["app", "web", None, "app"], dtype=object)
    np.testing.assert_allclose(bias.examination(platform)[:, 1], [0.01, 0.5, 0.5, 0.01])
    np.testing.assert_allclose(bias.weight(platform, 10.0), [[1, 10], [1, 2], [1, 2], [1, 10]])
    np.testing.assert_allclose(bias.weight(platform, 10.0, "purchase")[:, 1], 10)


def test_a_broken_file_says_so(tmp_path) -> None:
    with pytest.raises(ContractError, match="Run stage prepare"):
        SlotBias.read(tmp_path / "slot_bias.json")
