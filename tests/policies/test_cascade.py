import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from pageopt.errors import ConfigError
from pageopt.policies.cascade import seen_slots
from pageopt.policies.thompson import rank_by_score

ARMS, SHOWN, VISIBLE = 862, 12, 3


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8), st.integers(1, 8))
def test_a_page_is_seen_down_to_its_first_click(page: list[tuple[bool, bool]], visible: int) -> None:
    modules = np.array([[slot if filled else -1 for slot, (filled, _) in enumerate(page)]])
    clicked = np.array([[filled and click for filled, click in page]])
    seen = []
    stopped = False
    for slot in range(len(page)):
        within = slot < visible if not clicked.any() else not stopped
        seen.append(bool(within and modules[0, slot] >= 0))
        stopped = stopped or bool(clicked[0, slot])
    assert seen_slots(modules, clicked, visible)[0].tolist() == seen
    assert seen_slots(modules, clicked, None)[0].tolist() == (modules[0] >= 0).tolist()


def first_only(success: np.ndarray) -> np.ndarray:
    return success & (np.cumsum(success, axis=1) == 1)


def test_only_cascade_counts_give_the_true_click_rates() -> None:
    """Pages in random order, visitors who look through all of a page until they click."""
    rng = np.random.default_rng(0)
    rate = np.linspace(0.05, 0.5, 8)
    modules = rng.random((40_000, 8)).argsort(axis=1)
    clicked = first_only(rng.random(modules.shape) < rate[modules])
    found = {}
    for visible in (8, None):
        seen = seen_slots(modules, clicked, visible)
        views = np.bincount(modules[seen], minlength=8)
        found[visible] = np.bincount(modules[seen & clicked], minlength=8) / views
        if visible:
            assert (np.abs(found[visible] - rate) < 4 * np.sqrt(rate * (1 - rate) / views)).all()
    assert (found[None] < 0.6 * rate).all()


def regret(seed: int, visible: int | None, swipe: float, rounds: int = 25, users: int = 250) -> float:
    """Summed regret a user of the carousel of Bendada et al. (section 3), smaller and with a made-up θ.

    862 arms, 12 shown, Thompson sampling by segment from Beta(1, 99), updated in rounds. A visitor with features x
    wants an arm with probability σ(xᵀθ); only the first success is observed. The three cards that are visible at first
    are always looked at, the others with chance `swipe`. Regret is against the best 12 arms of the segment, in the
    probability of at least one success.
    """
    rng = np.random.default_rng((seed, 0))
    theta = rng.normal(0, 0.35, (ARMS, 9)) - 3.0 * (np.arange(9) == 8)
    segment = rng.integers(0, 4, 2000)
    features = np.column_stack([rng.normal(size=(4, 8))[segment] + 0.5 * rng.normal(size=(2000, 8)), np.ones(2000)])
    wanted = expit(features @ theta.T)
    best = np.stack([np.argsort(-wanted[segment == number].mean(axis=0))[:SHOWN] for number in range(4)])
    views, clicks = np.zeros((2, 4, ARMS))
    rng = np.random.default_rng((seed, 1))
    total = 0.0
    for _ in range(rounds):
        user = rng.integers(0, 2000, users)
        of = segment[user]
        draws = rng.beta(1 + clicks[of], 99 + views[of] - clicks[of])
        page = rank_by_score(draws, np.zeros(ARMS), SHOWN, None)
        chance = np.take_along_axis(wanted[user], page, axis=1)
        total += ((1 - chance).prod(axis=1) - (1 - wanted[user[:, None], best[of]]).prod(axis=1)).mean()
        looked = np.arange(SHOWN) < np.where(rng.random(users) < swipe, SHOWN, VISIBLE)[:, None]
        clicked = first_only((rng.random(page.shape) < chance) & looked)
        seen = seen_slots(page, clicked, visible)
        arm = of[:, None] * ARMS + page
        views += np.bincount(arm[seen], minlength=views.size).reshape(views.shape)
        clicks += np.bincount(arm[seen & clicked], minlength=views.size).reshape(views.shape)
    return float(total)


@pytest.mark.parametrize(("swipe", "visible"), [(1.0, SHOWN), (0.5, VISIBLE)])
def test_a_cascade_aware_update_beats_the_naive_one(swipe: float, visible: int) -> None:
    """As found by Bendada et al. (figure 3), for every seed."""
    aware, naive = np.array([[regret(seed, assumption, swipe) for seed in range(3)] for assumption in (visible, None)])
    assert (aware < naive).all()
    assert aware.mean() < 0.85 * naive.mean()


@pytest.mark.parametrize(
    ("modules", "clicked", "visible", "message"),
    [
        ([[0, 1]], [[True]], 1, "one shape"),
        ([[0, 1], [2, -1]], [[True, False], [False, True]], 1, "Page 1 has a click on an empty slot"),
        ([[0, 1]], [[True, False]], 0, "At least one slot"),
    ],
)
def test_what_cannot_be_used_is_named(modules: list, clicked: list, visible: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        seen_slots(np.array(modules), np.array(clicked), visible)
