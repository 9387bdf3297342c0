import numpy as np
import pytest
from scipy import stats

from pageopt.errors import EvaluationError
from pageopt.evaluation.spending import boundaries

# Published two-sided boundaries at .05 for five evenly spaced looks (Jennison and Turnbull 2000; Lan and DeMets 1983).
LAN_DEMETS = [4.877, 3.357, 2.680, 2.290, 2.031]
LAN_DEMETS_POCOCK = [2.438, 2.427, 2.410, 2.397, 2.386]


def test_boundaries_are_the_published_ones() -> None:
    assert boundaries(5) == pytest.approx(LAN_DEMETS, abs=6e-4)
    assert boundaries(5, spending="pocock") == pytest.approx(LAN_DEMETS_POCOCK, abs=6e-4)
    assert boundaries(1) == pytest.approx([stats.norm.isf(0.025)])


@pytest.mark.parametrize("spending", ["obrien-fleming", "pocock"])
@pytest.mark.parametrize("looks", [[0.3, 0.5, 1.0], [0.2, 0.4, 0.7, 0.9], [0.996, 0.998, 1.0], [0.002, 0.5, 0.502]])
def test_boundaries_against_the_multivariate_normal(looks: list[float], spending: str) -> None:
    """P(no crossing so far) is the normal probability of a box, with correlation √(t_i/t_j) between looks."""
    information = np.array(looks)
    bound = boundaries(looks, 0.05, spending)
    correlation = np.sqrt(np.minimum.outer(information, information) / np.maximum.outer(information, information))
    for upto in range(1, len(looks) + 1):
        box = stats.multivariate_normal(cov=correlation[:upto, :upto], seed=0, abseps=1e-8, releps=1e-8)
        inside = box.cdf(bound[:upto], lower_limit=-bound[:upto])
        t = information[upto - 1]
        spent = 0.05 * np.log(1 + (np.e - 1) * t)
        if spending == "obrien-fleming":
            spent = 4 * (1 - stats.norm.cdf(stats.norm.ppf(1 - 0.05 / 4) / np.sqrt(t)))
        assert 1 - inside == pytest.approx(spent, abs=2e-6)


def test_many_looks() -> None:
    bound = boundaries(200)
    steps = np.random.default_rng(6).normal(size=(20_000, 200))
    walk = np.cumsum(steps, axis=1) / np.sqrt(np.arange(1, 201))
    crossed = (np.abs(walk) > bound).any(axis=1).mean()
    assert abs(crossed - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 20_000)


def test_a_first_look_too_early_to_spend_anything_has_a_finite_boundary() -> None:
    assert boundaries([0.01, 1.0]) == pytest.approx([8.0, stats.norm.isf(0.025)], abs=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: boundaries(0), "one look at least"),
        (lambda: boundaries([0.5, 0.5]), "rise by 0.002"),
        (lambda: boundaries([0.5, 1.5]), "up to 1"),
        (lambda: boundaries([0.5, 0.4, 1.0]), r"looks\[1\] is 0.4"),
        (lambda: boundaries(5, spending="linear"), "'linear'"),
        (lambda: boundaries(5, alpha=5), "alpha"),
    ],
)
def test_what_cannot_be_used_is_named(call, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        call()
