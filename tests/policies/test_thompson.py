from functools import lru_cache
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from pageopt.errors import ConfigError
from pageopt.policies.thompson import DEMOTION, ThompsonSampling, marginal_propensities, rank_by_score

ALPHA = np.array([3.0, 5.0, 2.0, 4.0, 1.5])
BETA = np.array([20.0, 40.0, 9.0, 25.0, 14.0])
FAMILY = np.array([0, 0, 1, 0, 1])
SLOTS = 3


def order_probability(order: tuple[int, ...]) -> float:
    """P(draws fall in this order), integrated from the lowest draw up on a fine grid."""
    x = np.linspace(0, 1, 8_001)
    below = stats.beta(ALPHA[order[-1]], BETA[order[-1]]).cdf(x)
    for module in order[-2::-1]:
        below = integrate.cumulative_simpson(stats.beta(ALPHA[module], BETA[module]).pdf(x) * below, x=x, initial=0)
    return float(below[-1])


def demoted_probability(page: tuple[int, ...], nodes: int = 32) -> float:
    """P(a page of three under demotion), by nested quadrature over the draws of its modules.

    Given these, each other module only has to lie below what the three choices leave it, independently of the rest.
    """
    point, weight = np.polynomial.legendre.leggauss(nodes)
    point, weight = (point + 1) / 2, weight / 2
    beta = [stats.beta(a, b) for a, b in zip(ALPHA, BETA, strict=True)]
    first, second, third = page
    once = np.where(FAMILY[first] == FAMILY, DEMOTION, 1.0)
    twice = once * np.where(FAMILY[second] == FAMILY, DEMOTION, 1.0)
    x = beta[first].ppf(point)[:, None, None]
    share_y = beta[second].cdf(x)
    y = beta[second].ppf(share_y * point[:, None])
    limit = np.minimum(x, y * once[second] / once[third])
    share_z = beta[third].cdf(limit)
    z = beta[third].ppf(share_z * point)
    inside = share_y * share_z * weight[:, None, None] * weight[:, None] * weight
    for other in set(range(len(ALPHA))) - set(page):
        top = np.minimum(np.minimum(x, y * once[second] / once[other]), z * twice[third] / twice[other])
        inside = inside * beta[other].cdf(top)
    return float(inside.sum())


def swapped(order: list[int], families: list[int], slots: int) -> list[int]:
    """The documented swap, step by step."""
    page = list(order)
    for slot in range(1, min(slots, len(page))):
        if families[page[slot]] == families[page[slot - 1]]:
            for below in range(slot + 1, len(page)):
                if families[page[below]] != families[page[slot - 1]]:
                    page[slot], page[below] = page[below], page[slot]
                    break
    return page[:slots]


def demoted(scores: list[float], families: list[int], slots: int) -> list[int]:
    """The documented demotion, step by step."""
    left = dict(enumerate(scores))
    page: list[int] = []
    while left and len(page) < slots:
        best = max(left, key=lambda module: (left[module], -module))
        page.append(best)
        del left[best]
        for module in left:
            if families[module] == families[best]:
                left[module] *= DEMOTION
    return page


@lru_cache
def exact_marginals(diversity: str | None) -> np.ndarray:
    """P(module at slot) over all orders of the draws, or all pages, `[modules, slots]`."""
    exact = np.zeros((len(ALPHA), SLOTS))
    if diversity == "demote":
        for page in permutations(range(len(ALPHA)), SLOTS):
            exact[list(page), range(SLOTS)] += demoted_probability(page)
        return exact
    for order in permutations(range(len(ALPHA))):
        shown = swapped(list(order), FAMILY.tolist(), SLOTS) if diversity else list(order)[:SLOTS]
        exact[shown, range(SLOTS)] += order_probability(order)
    return exact


@pytest.mark.parametrize("diversity", [None, "swap", "demote"])
def test_marginals_equal_exact_ones_within_three_standard_errors(diversity: str | None) -> None:
    exact = exact_marginals(diversity)
    assert exact.sum(axis=0) == pytest.approx(1, abs=2e-4)
    samples = 50_000
    found = marginal_propensities(ALPHA, BETA, FAMILY, SLOTS, samples, diversity, np.random.default_rng(7))
    assert (np.abs(found - exact) <= 3 * np.sqrt(exact * (1 - exact) / samples)).all()


def test_diversity_changes_the_marginals() -> None:
    """So that the test above tells the strategies apart: they differ by far more than its standard errors."""
    plain, swap, demote = (exact_marginals(diversity) for diversity in (None, "swap", "demote"))
    assert min(np.abs(one - other).max() for one, other in ((plain, swap), (plain, demote), (swap, demote))) > 0.02


def test_marginals_are_zero_below_the_last_candidate() -> None:
    found = marginal_propensities(ALPHA[:3], BETA[:3], np.arange(3), 5, 200, None, np.random.default_rng(0))
    assert found.sum(axis=0).tolist() == pytest.approx([1, 1, 1, 0, 0])
    assert found.sum(axis=1) == pytest.approx(1)


scored = st.integers(1, 8).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 1000), min_size=n, max_size=n, unique=True),
        st.lists(st.integers(0, 2), min_size=n, max_size=n),
        st.integers(1, 9),
    )
)


@given(scored)
def test_ranking_equals_its_definition(case: tuple[list[int], list[int], int]) -> None:
    ranks, families, slots = case
    scores = [rank / 1001 for rank in ranks]
    order = sorted(range(len(scores)), key=lambda module: -scores[module])
    array, family = np.array([scores]), np.array(families)
    assert rank_by_score(array, family, slots, None)[0].tolist() == order[:slots]
    assert rank_by_score(array, family, slots, "swap")[0].tolist() == swapped(order, families, slots)
    assert rank_by_score(array, family, slots, "demote")[0].tolist() == demoted(scores, families, slots)


@given(scored)
def test_swap_leaves_neighbours_of_one_family_only_where_no_other_is_left(
    case: tuple[list[int], list[int], int],
) -> None:
    scores, families, slots = case
    shown = rank_by_score(np.array([scores], dtype=float), np.array(families), slots, "swap")[0]
    for slot in range(1, len(shown)):
        if families[shown[slot]] == families[shown[slot - 1]]:
            left = set(range(len(scores))) - set(shown[:slot].tolist())
            assert {families[module] for module in left} == {families[shown[slot]]}


FAMILIES = {"a1": "a", "a2": "a", "b1": "b", "c1": "c"}


def test_rank_shows_every_candidate_once_and_no_more_than_slots() -> None:
    policy = ThompsonSampling(FAMILIES, diversity="swap", seed=1)
    assert sorted(policy.rank("toys", ["a1", "b1", "c1"], 5)) == ["a1", "b1", "c1"]
    assert len(policy.rank("toys", list(FAMILIES), 2)) == 2
    assert policy.rank("toys", [], 3) == []


def test_same_seed_same_pages() -> None:
    pages = [[ThompsonSampling(FAMILIES, seed=5).rank("toys", list(FAMILIES), 4) for _ in range(3)] for _ in range(2)]
    assert pages[0] == pages[1]


def test_update_adds_counts_to_the_prior_of_its_segment_alone() -> None:
    policy = ThompsonSampling(FAMILIES, alpha0=2, beta0=8)
    policy.update("toys", ["a1", "b1", "a1"], [10, 5, 4], [3, 0, 1])
    assert policy.posterior("toys", "a1") == (6, 18)
    assert policy.posterior("toys", "b1") == (2, 13)
    assert policy.posterior("shoes", "a1") == (2, 8)


def test_it_learns_what_is_clicked() -> None:
    policy = ThompsonSampling(FAMILIES, seed=2)
    policy.update("toys", ["a1", "a2", "b1", "c1"], [5000] * 4, [50, 500, 100, 20])
    shown = [policy.rank("toys", list(FAMILIES), 4) for _ in range(20)]
    assert all(page[0] == "a2" for page in shown)
    assert all(page[-1] == "c1" for page in shown)


def test_diversity_keeps_a_family_apart() -> None:
    counts = (["a1", "a2", "b1", "c1"], [5000] * 4, [500, 450, 100, 20])
    for diversity in ("swap", "demote"):
        policy = ThompsonSampling(FAMILIES, diversity=diversity)
        policy.update("toys", *counts)
        assert policy.rank("toys", list(FAMILIES), 4)[:2] == ["a1", "b1"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda policy: policy.rank("toys", ["zz"], 2), "zz"),
        (lambda policy: policy.update("toys", ["a1"], [1, 2], [0]), "one length"),
        (lambda policy: policy.update("toys", ["a1"], [1], [2]), "2 clicks in 1 views"),
        (lambda policy: ThompsonSampling({}, alpha0=0), "alpha0"),
        (lambda policy: ThompsonSampling({}, diversity="mix"), "diversity"),
    ],
)
def test_what_cannot_be_used_is_named(call, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call(ThompsonSampling(FAMILIES))


def test_a_refused_batch_changes_nothing() -> None:
    policy = ThompsonSampling(FAMILIES)
    with pytest.raises(ConfigError):
        policy.update("toys", ["a1", "a2"], [5, 1], [1, 2])
    assert policy.posterior("toys", "a1") == (1, 99)
