"""What exploration earns while it learns, and policies that learn in the shop day by day."""

import numpy as np
import pytest

from pageopt.errors import ConfigError
from pageopt.policies.thompson import ThompsonSampling
from pageopt.simulator import Contexts, Shop

DAYS, PAGES = 6, 12_000


@pytest.fixture(scope="module")
def learning_shop(make_shop):
    """Few Monte Carlo rankings: pages do not depend on the propensities stated for them."""
    return lambda seed=1, **changes: make_shop(seed, days=DAYS, propensity_samples=20, **changes)


@pytest.mark.parametrize("law", ["content", "none"])
def test_thompson_sampling_regrets_less_than_full_randomisation(learning_shop, law: str) -> None:
    """Whatever the diversity strategy, it closes a quarter to all of the gap to the oracle; in three shops."""
    for seed in (1, 2, 3):
        shop = learning_shop(seed, page_effects=law)
        random, best = shop.true_value("random", PAGES), shop.true_value(shop.oracle("click"), PAGES)
        for diversity in (None, "swap", "demote"):
            explored = learning_shop(seed, page_effects=law, thompson_diversity=diversity)
            value = explored.true_value("thompson", PAGES)
            assert random.ctr + 0.25 * (best.ctr - random.ctr) < value.ctr < best.ctr
            assert value.ptr > 1.1 * random.ptr


def test_its_regret_falls_from_day_to_day_and_that_of_random_pages_does_not(learning_shop) -> None:
    shop = learning_shop()
    random, thompson, best = (shop.true_values(p, PAGES) for p in ("random", "thompson", shop.oracle("click")))
    assert len(random) == len(thompson) == DAYS
    regret = [b.ctr - t.ctr for b, t in zip(best, thompson, strict=True)]
    assert regret[-1] < 0.7 * regret[0]
    assert regret[-1] < regret[1] < regret[0]
    assert thompson[0].ctr == pytest.approx(random[0].ctr, rel=0.05)  # nothing is known on the first day
    assert np.ptp([day.ctr for day in random]) < 0.1 * random[0].ctr
    whole = shop.true_value("thompson", PAGES)
    assert whole.ctr == pytest.approx(np.mean([day.ctr for day in thompson]))
    assert whole.ptr == pytest.approx(np.mean([day.ptr for day in thompson]))


class Batched:
    """Keeps what it is told until the next day; subclasses show and learn."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.day = -1
        self.kept: list[tuple[Contexts, np.ndarray, np.ndarray]] = []

    def choose(self, contexts: Contexts, day: int) -> tuple[np.ndarray, np.ndarray]:
        if day != self.day:
            for batch in self.kept:
                self.learn(*batch)
            self.day, self.kept = day, []
        modules = self.show(contexts)
        return modules, np.full(modules.shape, np.nan)

    def record(self, contexts: Contexts, modules: np.ndarray, clicked: np.ndarray) -> None:
        self.kept.append((contexts, modules, clicked))


class BySegment(Batched):
    """The same as the shop's "thompson", page by page through the public class."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop)
        self.policy = ThompsonSampling({str(m): str(f) for m, f in enumerate(shop.catalog.modules.family)}, seed=3)

    def show(self, contexts: Contexts) -> np.ndarray:
        pages = []
        for segment, row in zip(contexts.hero_category, self.shop.catalog.candidates[contexts.group], strict=True):
            candidates = [str(module) for module in row if module >= 0]
            pages.append([int(module) for module in self.policy.rank(str(segment), candidates, 4)])
        return np.array(pages)

    def learn(self, contexts: Contexts, modules: np.ndarray, clicked: np.ndarray) -> None:
        for segment in np.unique(contexts.hero_category):
            rows = contexts.hero_category == segment
            shown = [str(module) for module in modules[rows].ravel()]
            self.policy.update(str(segment), shown, np.ones(len(shown)), clicked[rows].ravel())


def test_the_shops_thompson_earns_what_the_public_class_earns(learning_shop) -> None:
    shop = learning_shop(thompson_diversity=None)
    own, named = shop.true_values(BySegment(shop), PAGES), shop.true_values("thompson", PAGES)
    for day in range(DAYS):
        assert own[day].ctr == pytest.approx(named[day].ctr, rel=0.06)
    assert own[-1].ctr > 1.2 * own[0].ctr


def test_logs_and_values_of_a_new_policy_are_of_the_same_pages(learning_shop) -> None:
    shop = learning_shop()
    log = shop.logs(BySegment(shop), PAGES)
    clicks = log.events["kind"].to_pylist().count("click")
    value = shop.true_value(BySegment(shop))
    assert abs(clicks - value.ctr * PAGES) < 3 * np.sqrt(value.ctr * PAGES)
    assert set(log.pages["policy"].to_pylist()) == {"BySegment"}
    assert log.impressions["propensity"].null_count == log.impressions.num_rows
    assert log.exploration.num_rows == 0


class Odd:
    def __init__(self, modules: np.ndarray, chance: np.ndarray) -> None:
        self.page = modules, chance

    def choose(self, contexts: Contexts, day: int) -> tuple[np.ndarray, np.ndarray]:
        modules, chance = self.page
        return np.tile(modules, (len(contexts), 1)), np.tile(chance, (len(contexts), 1))

    def record(self, contexts: Contexts, modules: np.ndarray, clicked: np.ndarray) -> None:
        pass


@pytest.mark.parametrize(
    ("modules", "chance", "message"),
    [([99], [1.0], "not available"), ([-1], [0.0], "outside"), ([-1, -1], [0.5], "shape")],
)
def test_pages_and_propensities_that_cannot_be_are_refused(learning_shop, modules, chance, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        learning_shop().true_value(Odd(np.array(modules), np.array(chance)), 50)


def test_stated_propensities_are_logged(make_shop) -> None:
    shop = make_shop(available=16)
    everywhere = np.intersect1d(shop.catalog.candidates[0], shop.catalog.candidates[1])
    for group in range(shop.catalog.groups):
        everywhere = np.intersect1d(everywhere, shop.catalog.candidates[group])
    module = int(everywhere[everywhere >= 0][0])
    log = shop.logs(Odd(np.array([module, -1]), np.array([0.25, np.nan])), 60)
    assert log.impressions["propensity"].to_pylist() == [0.25] * 60
