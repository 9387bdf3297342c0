import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct
from sklearn.linear_model import Ridge

from pageopt.errors import ConfigError
from pageopt.policies.neural_linear import NeuralLinear

ONE_FAMILY = np.zeros(1, dtype=int)


def learned(
    seed: int = 0, rows: int = 60, features: int = 4, **prior: float
) -> tuple[NeuralLinear, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=(rows, features))
    reward = phi @ rng.normal(size=features) + 0.5 * rng.normal(size=rows)
    policy = NeuralLinear(features, ONE_FAMILY, **prior)
    policy.update(phi, reward)
    return policy, phi, reward


def test_the_mean_is_that_of_ridge_regression() -> None:
    policy, phi, reward = learned(precision=2.0)
    ridge = Ridge(alpha=2.0, fit_intercept=False).fit(phi, reward)
    np.testing.assert_allclose(policy.mean, ridge.coef_, rtol=1e-10)


def test_the_spread_is_that_of_a_gaussian_process_with_the_same_prior() -> None:
    """At a given noise the model is a Gaussian process with kernel (σ²/λ)·φᵀφ'."""
    policy, phi, reward = learned(precision=1.0)
    process = GaussianProcessRegressor(DotProduct(sigma_0=0, sigma_0_bounds="fixed"), alpha=1.0, optimizer=None)
    new = np.random.default_rng(1).normal(size=(5, 4))
    mean, spread = process.fit(phi, reward).predict(new, return_std=True)
    np.testing.assert_allclose(new @ policy.mean, mean, rtol=1e-8)
    np.testing.assert_allclose(np.sqrt(np.einsum("nd,de,ne->n", new, policy.covariance, new)), spread, rtol=1e-6)


def test_the_posterior_is_that_of_a_grid() -> None:
    """Prior times likelihood of one weight and its noise, summed by brute force."""
    policy, phi, reward = learned(3, rows=12, features=1, precision=0.7, shape=3.0, rate=1.5)
    centre, (shape, rate) = policy.mean[0], policy.noise
    weight = np.linspace(centre - 3, centre + 3, 1201)[:, None]
    log_noise = np.linspace(-5, 4, 1201)
    noise = np.exp(log_noise)
    log = stats.norm.logpdf(weight, 0, np.sqrt(noise / 0.7)) + stats.invgamma.logpdf(noise, 3.0, scale=1.5) + log_noise
    for x, y in zip(phi[:, 0], reward, strict=True):
        log = log + stats.norm.logpdf(y, weight * x, np.sqrt(noise))
    density = np.exp(log - log.max())
    density /= density.sum()
    assert (density.sum(axis=1) @ weight)[0] == pytest.approx(centre, rel=1e-4)
    variance = density.sum(axis=1) @ (weight[:, 0] - centre) ** 2
    assert variance == pytest.approx(rate / (shape - 1) * policy.covariance[0, 0], rel=1e-4)
    assert density.sum(axis=0) @ noise == pytest.approx(rate / (shape - 1), rel=1e-4)
    assert density.sum(axis=0) @ noise**2 == pytest.approx(stats.invgamma(shape, scale=rate).moment(2), rel=1e-3)


def predictive(policy: NeuralLinear, phi: np.ndarray):
    """φᵀw under the posterior: a Student t with 2a degrees of freedom."""
    shape, rate = policy.noise
    scale = np.sqrt(rate / shape * phi @ policy.covariance @ phi)
    return stats.t(2 * shape, loc=phi @ policy.mean, scale=scale)


def test_draws_follow_the_posterior() -> None:
    policy, _, _ = learned(rows=5, shape=1.0)  # few rows, so that the tails are those of the t and not of the normal
    phi = np.array([0.5, -1.0, 0.2, 0.1])
    scores = policy.draw(np.broadcast_to(phi, (20_000, 1, 4)))[:, 0]
    assert stats.kstest(scores, predictive(policy, phi).cdf).pvalue > 0.01
    assert stats.kstest(scores, stats.norm(scores.mean(), scores.std()).cdf).pvalue < 0.01


def test_the_candidates_of_a_page_share_one_draw() -> None:
    policy, phi, _ = learned()
    scores = policy.draw(np.stack([phi[:3], 2 * phi[:3]], axis=1))
    np.testing.assert_allclose(scores[:, 1], 2 * scores[:, 0])
    assert len(np.unique(scores[:, 0])) == 3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 40), max_size=4))
def test_the_order_and_size_of_batches_do_not_matter(seed: int, cuts: list[int]) -> None:
    whole, phi, reward = learned(seed, rows=40)
    parts = NeuralLinear(4, ONE_FAMILY)
    shuffled = np.random.default_rng(seed).permutation(40)
    for rows in np.split(shuffled, sorted(cuts)):
        parts.update(phi[rows], reward[rows])
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(parts.covariance, whole.covariance, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(parts.noise, whole.noise, rtol=1e-9)


def test_nearly_equal_features_of_unlike_scale_are_solved_as_by_least_squares() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(500, 3))
    phi = np.column_stack([base, base[:, 0] + 1e-5 * rng.normal(size=500), 1000 * base[:, 1] + rng.normal(size=500)])
    reward = base.sum(axis=1) + rng.normal(size=500)
    policy = NeuralLinear(5, ONE_FAMILY, precision=1e-2)
    policy.update(phi, reward)
    augmented = np.vstack([phi, np.sqrt(1e-2) * np.eye(5)])
    expected, *_ = np.linalg.lstsq(augmented, np.concatenate([reward, np.zeros(5)]))
    np.testing.assert_allclose(phi @ policy.mean, phi @ expected, atol=1e-6)
    residual = np.concatenate([reward, np.zeros(5)]) - augmented @ expected
    assert policy.noise[1] == pytest.approx(6 + residual @ residual / 2, rel=1e-8)


def two_modules(diversity: str | None = None) -> NeuralLinear:
    policy = NeuralLinear(3, np.array([0, 0, 1]), diversity=diversity, seed=4)
    policy.update(np.tile(np.eye(3), (30, 1)), np.tile([0.5, 0.45, 0.3], 30) + 0.3 * np.sin(np.arange(90)))
    return policy


def test_propensities_of_two_candidates_are_those_of_the_difference() -> None:
    policy = two_modules()
    phi = np.eye(3)[None, [0, 2]]
    share = policy.marginal_propensities(phi, np.array([[0, 2]]), 2, 40_000)[0]
    first = predictive(policy, phi[0, 0] - phi[0, 1]).sf(0)
    assert 0.6 < first < 0.99
    error = 3 * np.sqrt(first * (1 - first) / 40_000)
    assert share == pytest.approx(np.array([[first, 1 - first], [1 - first, first]]), abs=error)


@pytest.mark.parametrize("diversity", [None, "swap", "demote"])
def test_propensities_are_how_often_modules_are_shown(diversity: str | None) -> None:
    policy = two_modules(diversity)
    pages = 20_000
    phi = np.broadcast_to(np.eye(3), (pages, 3, 3)).copy()
    candidates = np.tile([0, 1, 2], (pages, 1))
    candidates[::2, 2] = -1  # every other page has two candidates
    shown = policy.rank(phi, candidates, 3)
    stated = policy.marginal_propensities(phi[:2], candidates[:2], 3, pages)
    for parity in (0, 1):
        for module, slot in np.ndindex(3, 3):
            p = stated[parity, module, slot]
            error = np.sqrt(p * (1 - p) * (2 / pages + 1 / pages))
            assert abs((shown[parity::2, slot] == module).mean() - p) <= 4 * error
    assert (shown[::2, 2] == -1).all()
    assert (shown[1::2] >= 0).all()
    if diversity == "swap":
        assert (shown[1::2, 1] == 2).mean() == pytest.approx(1 - (shown[1::2, 0] == 2).mean())


def test_demotion_keeps_the_order_of_scores_that_are_not_positive() -> None:
    """Rewards below zero: multiplied by 0.1 as they are, demoted modules would rise."""
    rewards = np.array([-1.0, -2.0, -3.0, -4.0])
    policy = NeuralLinear(4, np.array([0, 1, 2, 3]), precision=1e-3, diversity="demote")
    policy.update(np.tile(np.eye(4), (5000, 1)), np.tile(rewards, 5000))
    pages = policy.rank(np.tile(np.eye(4), (50, 1, 1)), np.tile(np.arange(4), (50, 1)), 4)
    assert (pages == np.arange(4)).all()


def test_propensities_leave_the_pages_as_they_are() -> None:
    phi, candidates = np.eye(3)[None], np.array([[0, 1, 2]])
    one, other = two_modules(), two_modules()
    one.marginal_propensities(phi, candidates, 3, 500)
    assert [one.rank(phi, candidates, 3).tolist() for _ in range(20)] == [
        other.rank(phi, candidates, 3).tolist() for _ in range(20)
    ]


def cumulative_regret(seed: int, contextual: bool) -> float:
    """Six modules whose click rate turns with a context that is spread evenly within the one segment; two are shown."""
    rng = np.random.default_rng(seed)
    modules, context = 6, rng.normal(size=(6, 3))
    families = np.arange(modules)
    neural = NeuralLinear(4 * modules, families, seed=seed)
    views, clicks = np.zeros((2, modules))
    lost = 0.0
    for _ in range(20):
        x = rng.normal(size=(200, 3))
        rate = 0.6 / (1 + np.exp(-1.5 * x @ context.T))
        if contextual:
            full = np.column_stack([x, np.ones(200)])
            phi = np.einsum("pd,mn->pmdn", full, np.eye(modules)).reshape(200, modules, -1)
            shown = neural.rank(phi, np.tile(families, (200, 1)), 2)
        else:
            shown = np.argsort(-rng.beta(1 + clicks, 9 + views - clicks, (200, modules)), axis=1)[:, :2]
        chance = np.take_along_axis(rate, shown, axis=1)
        lost += (np.sort(rate, axis=1)[:, -2:].sum(axis=1) - chance.sum(axis=1)).mean()
        clicked = rng.random(chance.shape) < chance
        if contextual:
            neural.update(np.take_along_axis(phi, shown[..., None], axis=1).reshape(400, -1), clicked.ravel())
        views += np.bincount(shown.ravel(), minlength=modules)
        clicks += np.bincount(shown[clicked], minlength=modules)
    return lost


def test_it_sees_contexts_that_counting_by_segment_cannot() -> None:
    neural, counting = ([cumulative_regret(seed, way) for seed in range(4)] for way in (True, False))
    assert max(neural) < 0.6 * min(counting)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda policy: NeuralLinear(3, ONE_FAMILY, precision=0), "above 0"),
        (lambda policy: NeuralLinear(3, ONE_FAMILY, diversity="mix"), "diversity"),
        (lambda policy: policy.update(np.ones((2, 2)), np.ones(2)), r"phi must be \[n, 3\]"),
        (lambda policy: policy.update(np.ones((2, 3)), np.ones(3)), r"reward \[n\]"),
        (lambda policy: policy.update(np.full((1, 3), np.nan), np.ones(1)), "finite"),
        (lambda policy: policy.update(np.full((9, 3), 1e12), np.ones(9)), "Scale them"),
        (lambda policy: policy.draw(np.ones((2, 3))), r"\[pages, candidates, 3\]"),
        (lambda policy: policy.rank(np.ones((1, 2, 3)), np.array([[0, 3]]), 2), r"-1\.\.2"),
        (lambda policy: policy.rank(np.ones((1, 2, 3)), np.array([[-1, 0]]), 2), "at the end"),
        (lambda policy: policy.rank(np.ones((1, 2, 3)), np.array([[0, 1, 2]]), 2), r"\[1, 2\]"),
        (lambda policy: policy.rank(np.full((1, 2, 3), np.inf), np.array([[0, 1]]), 2), r"phi\[0\]"),
    ],
)
def test_what_cannot_be_used_is_named(call, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call(two_modules())


def test_a_refused_batch_changes_nothing() -> None:
    policy, before = two_modules(), two_modules()
    with pytest.raises(ConfigError):
        policy.update(np.full((9, 3), 1e12), np.ones(9))
    np.testing.assert_array_equal(policy.mean, before.mean)
    np.testing.assert_array_equal(policy.covariance, before.covariance)
