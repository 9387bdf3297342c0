from hashlib import sha256
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from pageopt.errors import ConfigError, SourceError
from pageopt.simulator import Shop
from pageopt.simulator.catalog import PLATFORMS
from pageopt.simulator.contexts import DAY, START, Contexts
from pageopt.simulator.model import Intent

PAGES = 6000


def shown(log, slots: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Module index, propensity and click of every page and slot, from the log's tables."""
    pages = {page: row for row, page in enumerate(log.pages["page_id"].to_pylist())}
    modules, propensity, clicked = (np.full((len(pages), slots), value) for value in (-1, np.nan, 0))
    for row in log.impressions.to_pylist():
        modules[pages[row["page_id"]], row["slot"] - 1] = int(row["module_id"][1:])
        propensity[pages[row["page_id"]], row["slot"] - 1] = row["propensity"]
    for row in log.events.to_pylist():
        if row["kind"] == "click":
            clicked[pages[row["page_id"]], row["slot"] - 1] = 1
    return modules, propensity, clicked


@pytest.mark.parametrize("policy", ["random", "thompson", "production", "static", "oracle"])
def test_logs_earn_the_true_value_within_three_standard_errors(shop, policy: str) -> None:
    chosen = {"static": shop.static(np.arange(16)), "oracle": shop.oracle("purchase")}.get(policy, policy)
    log = shop.logs(chosen, PAGES)
    true = shop.true_value(chosen)
    for kind, value in (("click", true.ctr), ("purchase", true.ptr)):
        count = log.events["kind"].to_pylist().count(kind)
        # Independent slots with p < 1: the variance of their number is below its mean.
        assert abs(count - value * PAGES) < 3 * np.sqrt(value * PAGES)


def marginals(log, shop: Shop) -> np.ndarray:
    """The probability of every module at every slot, `[days, groups, modules, slots]`, of Thompson's snapshots."""
    found = np.zeros((shop.params.days, shop.catalog.groups, shop.params.modules, shop.params.slots))
    for row in log.exploration.to_pylist():
        group = shop.catalog.categories.index(row["segment"]) * len(PLATFORMS) + PLATFORMS.index(row["platform"])
        day = (round(row["ts"].timestamp() * 1_000_000) - START) // DAY
        found[day, group, int(row["module_id"][1:]), row["slot"] - 1] = row["probability"]
    return found


@pytest.mark.parametrize("policy", ["random", "thompson"])
def test_ips_recovers_what_the_log_can_say_of_the_static_page_without_page_effects(make_shop, policy: str) -> None:
    """Where Thompson sampling hardly ever shows a module any more, a log of this length says nothing of it."""
    shop = make_shop(page_effects="none", propensity_samples=20_000)
    static = shop.static(np.argsort(-shop.catalog.modules.quality))
    log = shop.logs(policy, 12_000)
    modules, propensity, clicked = shown(log, shop.params.slots)
    contexts = list(shop.contexts(12_000))
    target = np.concatenate([static(of_day) for of_day in contexts])
    said = np.ones(target.shape, dtype=bool)
    if policy == "thompson":
        day, group = (
            np.concatenate(each) for each in zip(*[(of_day.ts, of_day.group) for of_day in contexts], strict=True)
        )
        chance = marginals(log, shop)[(day - START) // DAY, group]
        said = chance[np.arange(len(target))[:, None], target, np.arange(shop.params.slots)] > 0.02
    assert said.mean() > 0.4
    per_page = np.where((modules == target) & said, clicked / propensity, 0).sum(axis=1)
    error = per_page.std() / np.sqrt(len(per_page))
    click = np.concatenate([shop.model.expected(Intent.of(of_day), static(of_day))[0] for of_day in contexts])
    true = (click * said).sum(axis=1).mean()
    assert error < 0.2 * true
    assert abs(per_page.mean() - true) < 3 * error


def test_true_value_is_that_of_the_contexts_asked_for(shop) -> None:
    static = shop.static(np.arange(16))
    shop.logs(static, 500)
    assert shop.true_value(static) == shop.true_value(static, 500) != shop.true_value(static, 800)
    clicks = [shop.model.expected(Intent.of(contexts), static(contexts))[0] for contexts in shop.contexts(500)]
    assert shop.true_value(static, 500).ctr == pytest.approx(sum(c.sum() for c in clicks) / 500)


def test_oracle_beats_the_policies_that_log(shop) -> None:
    click, purchase = (shop.true_value(shop.oracle(objective), 2000) for objective in ("click", "purchase"))
    for policy in ("random", "thompson", "production", shop.static(np.arange(16))):
        value = shop.true_value(policy, 2000)
        assert click.ctr > value.ctr
        assert purchase.ptr > value.ptr
    assert click.ctr > purchase.ctr
    assert purchase.ptr > click.ptr


@pytest.mark.parametrize("objective", ["click", "purchase"])
def test_oracle_of_full_width_is_the_best_page_there_is(make_shop, objective: str) -> None:
    shop = make_shop(slots=3, available=6, modules=8, families=3)
    contexts = next(shop.contexts(60 * shop.params.days))
    intent = Intent.of(contexts)
    found = shop.oracle(objective, width=500)(contexts)
    family = shop.catalog.modules.family
    which = 1 if objective == "purchase" else 0
    value = shop.model.expected(intent, found)[which].sum(axis=1)
    for row in range(60):
        candidates = [module for module in shop.catalog.candidates[contexts.group[row]] if module >= 0]
        pages = np.array(
            [page for page in permutations(candidates, 3) if family[page[0]] != family[page[1]] != family[page[2]]]
        )
        one = intent.take(np.full(len(pages), row))
        best = shop.model.expected(one, pages)[which].sum(axis=1).max()
        assert value[row] == pytest.approx(best, rel=1e-5)


def test_oracle_keeps_the_family_rule_and_fills_what_it_can(make_shop) -> None:
    shop = make_shop(slots=7, available=5)
    for contexts in shop.contexts(300):
        pages = shop.oracle("click")(contexts)
        count = np.minimum(shop.catalog.candidate_count[contexts.group], 7)
        assert ((pages >= 0).sum(axis=1) == count).all()
        for page, available in zip(pages, shop.catalog.candidates[contexts.group], strict=True):
            page = page[page >= 0]
            assert len(set(page)) == len(page)
            assert set(page) <= set(available)
            family = shop.catalog.modules.family[page]
            for slot in range(1, len(page)):
                if family[slot] == family[slot - 1]:
                    assert set(family[slot:]) == {family[slot]}


def test_contexts_leave_room_to_gain(make_shop) -> None:
    """A page for everybody must be well below a page for each: otherwise there is nothing to learn."""
    shop = make_shop(modules=40, families=8, available=16, slots=6)
    static = shop.true_value("production", 2000)
    assert shop.true_value(shop.oracle("click"), 2000).ctr > 1.3 * static.ctr
    assert shop.true_value(shop.oracle("purchase"), 2000).ptr > 1.3 * static.ptr


def digest(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*.parquet"))}


def test_same_seed_same_bytes(make_shop, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        make_shop(seed, pages=900).write(tmp_path / name)
    assert digest(tmp_path / "one") == digest(tmp_path / "again")
    one, other = digest(tmp_path / "one"), digest(tmp_path / "other")
    assert one.keys() == other.keys()
    assert all(one[part] != other[part] for part in one)


def test_a_folder_that_holds_a_log_is_left_alone(make_shop, tmp_path: Path) -> None:
    shop = make_shop(pages=60)
    shop.write(tmp_path)
    before = digest(tmp_path)
    with pytest.raises(SourceError, match="already holds"):
        shop.write(tmp_path)
    assert digest(tmp_path) == before


def test_logs_are_the_same_whenever_they_are_drawn(shop) -> None:
    first = shop.logs("thompson", 700)
    shop.logs("random", 300)
    assert shop.logs("thompson", 700) == first


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("greedy", "No policy 'greedy'"),
        (object(), "object is no policy"),
        (lambda contexts: np.zeros((len(contexts), 2), dtype=int), "one module twice"),
        (lambda contexts: np.full((len(contexts), 1), 99), "not available"),
        (lambda contexts: np.zeros((1, 9), dtype=int), "at most 4 slots"),
        (lambda contexts: np.zeros((len(contexts), 1)), "integers"),
    ],
)
def test_policies_that_cannot_be_shown_are_named(shop: Shop, policy, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shop.true_value(policy, 50)


def test_a_policy_may_show_shorter_pages(shop) -> None:
    def first_one(contexts: Contexts) -> np.ndarray:
        return shop.catalog.candidates[contexts.group][:, :1]

    log = shop.logs(first_one, 50)
    assert log.impressions.num_rows == 50
    assert set(log.pages["policy"].to_pylist()) == {"first_one"}


def test_no_pages_is_an_error(shop) -> None:
    with pytest.raises(ConfigError, match="at least one page"):
        shop.logs("random", 0)
