"""Beliefs against brute force and against the truth, and what the pages that are made of them earn."""

from itertools import permutations

import numpy as np
import pytest

from pageopt.simulator import Shop, truth
from pageopt.simulator.contexts import first_stages, item_log_odds, next_stages
from pageopt.simulator.knowable import believed, knowable_pages
from pageopt.simulator.model import Intent, sigmoid
from pageopt.simulator.pull import CATEGORY, HERO, MISSION, heroes
from pageopt.simulator.shown import NOBODY, Shown, shown


def drawn(shop: Shop, seen: Shown, rows: np.ndarray, history: str, visits: int) -> Intent:
    """Visits `[pages, visits]` side by side, in the order of `rows`."""
    parts = list(believed(shop.catalog, seen, rows, history, visits))
    at = np.argsort(np.concatenate([some for some, _ in parts]))
    order = (at[:, None] * visits + np.arange(visits)).ravel()
    return Intent(*(np.concatenate([getattr(of, name) for _, of in parts])[order] for name in vars(parts[0][1])))


@pytest.mark.parametrize("law", ["content", "clicks"])
def test_beliefs_are_calibrated(make_shop, law: str) -> None:
    """What a page's visitor truly wants lies within the middle 90 % of what is believed, nine times in ten."""
    shop = make_shop(users=120, page_effects=law, days=5)
    log = shop.logs("random", 6000)
    seen = shown(log, shop.catalog)
    rows = np.flatnonzero(seen.user != NOBODY)[-1500:]
    believed_of = drawn(shop, seen, rows, "all", 100)
    _, true = truth.visits(log.truth, np.array(seen.page_id.to_pylist())[rows])
    for name in ("direction", "family"):
        values = getattr(believed_of, name).reshape(len(rows), 100, -1)
        low, high = np.quantile(values, [0.05, 0.95], axis=1)
        of = getattr(true, name)
        assert 0.86 < ((low < of) & (of < high)).mean() < 0.94
        error, blind = (of - values.mean(axis=1)).var(), of.var()
        assert error < 0.8 * blind  # and they say something
    category = believed_of.category.reshape(len(rows), 100)
    chance = np.stack([(category == each).mean(axis=1) for each in range(4)], axis=1)
    assert chance[np.arange(len(rows)), true.category].mean() == pytest.approx(
        np.square(chance).sum(axis=1).mean(), abs=0.03
    )


def test_beliefs_are_those_of_brute_force(make_shop) -> None:
    """Against very many visitors drawn blindly, each weighted by how likely it makes what was shown."""
    shop = make_shop(users=8, items=24, categories=3, modules=8, families=3, available=6, slots=3, days=1, mood=0.2)
    catalog, model, rng = shop.catalog, shop.model, np.random.default_rng(5)
    log = shop.logs("random", 60)
    seen = shown(log, catalog)
    of_users = [np.flatnonzero(seen.user == user)[:4] for user in range(8)]
    rows = next(rows for rows in of_users if len(set(seen.session[rows].tolist())) == 2)
    count, personal, pull = 400_000, shop.params.personal, catalog.pull
    taste, family = rng.normal(size=(count, 8)), rng.normal(size=(count, 3))
    own = rng.gamma(0.15 + 0.35 * catalog.category_share * 3, size=(count, 3)) + 1e-12
    preference = personal * own / own.sum(axis=1, keepdims=True) + (1 - personal) * catalog.category_share
    weight, before = np.zeros(count), -1
    for step, row in enumerate(rows):
        if seen.session[row] != before:
            category = (np.cumsum(preference, axis=1) < rng.random((count, 1))).sum(axis=1).clip(max=2)
            mission, mood = rng.normal(size=(2, count, 8))
            stage, before = first_stages(rng, count), seen.session[row]
        else:
            mood = 0.9 * mood + np.sqrt(1 - 0.81) * rng.normal(size=mood.shape)
            stage = next_stages(rng, stage)
        hero = seen.hero_item[row]
        there = catalog.items.category[hero]
        wish = np.sqrt(personal) * taste + np.sqrt(1 - personal) * mission

        def likely(item: int, wish: np.ndarray = wish) -> np.ndarray:
            of = catalog.items.category[item]
            odds = item_log_odds(catalog, of, wish)
            return odds[:, item - catalog.items.first[of]] - np.log(np.exp(odds).sum(axis=1))

        weight += np.log(heroes(shop.params, catalog.complements)[category, there]) + likely(hero)
        seen_content = CATEGORY * catalog.category_content[category] + HERO * catalog.items.content[hero]
        intent = Intent(
            platform=np.full(count, seen.platform[row]),
            hero_category=np.full(count, there),
            category=category,
            direction=pull.taste * taste + pull.mood * mood + pull.shown * (seen_content + MISSION * mission),
            family=pull.family * family,
            stage=stage,
        )
        if step == len(rows) - 1:
            break
        shown_there = np.tile(seen.modules[row], (count, 1))
        odds = model.relevance(intent, shown_there) + model.effects.of_modules(shown_there)
        click = model.examination[intent.platform] * sigmoid(odds)
        clicked = seen.clicked[row] >= 0
        weight += np.log(np.where(clicked, click, 1 - click)).sum(axis=1)
        for item in seen.clicked[row][clicked]:
            weight += likely(int(item))
    weight = np.exp(weight - weight.max())
    weight /= weight.sum()
    assert 1 / np.square(weight).sum() > 500

    ours = drawn(shop, seen, rows[-1:], "all", 4000)
    candidates = catalog.candidates[catalog.items.category[hero] * 3 + seen.platform[rows[-1]]]
    pages = np.array(list(permutations(candidates[candidates >= 0], 3)))
    some = rng.choice(count, 4000, p=weight)

    def values(of: Intent) -> np.ndarray:
        total = np.zeros(len(pages))
        for at, page in enumerate(pages):
            total[at] = model.expected(of, np.tile(page, (len(of.stage), 1)))[1].sum(axis=1).mean()
        return total

    exact, found = values(intent.take(some)), values(ours)
    assert np.corrcoef(exact, found)[0, 1] > 0.97
    np.testing.assert_allclose(found.mean(), exact.mean(), rtol=0.1)
    assert exact[found.argmax()] > 0.97 * exact.max()


@pytest.fixture(scope="module")
def judged(make_shop):
    """What pages by several kinds of knowledge truly earn, page by page."""
    shop = make_shop(users=60, modules=24, families=6, available=14, days=5)
    log = shop.logs("random", 4000)
    ids = np.array(log.pages["page_id"].to_pylist())[-700:]

    def earned(**known: object) -> np.ndarray:
        pages = knowable_pages(log, ids, "click", visits=16, width=3, **known)
        return truth.expected(log.truth, ids, pages)[0].sum(axis=1)

    values = {history: earned(history=history) for history in ("none", "session", "all")}
    values["exact taste"] = earned(exact_taste=True)
    values["page-blind"] = earned(page_effects=False)
    best = shop.oracle("click")
    pages = np.concatenate([best(each) for each in shop.contexts(4000)])[-700:]
    values["oracle"] = truth.expected(log.truth, ids, pages)[0].sum(axis=1)
    return values


@pytest.mark.parametrize(
    ("less", "more"),
    [("none", "session"), ("session", "all"), ("all", "exact taste"), ("exact taste", "oracle"), ("page-blind", "all")],
)
def test_who_knows_more_earns_more(judged, less: str, more: str) -> None:
    gain = judged[more] - judged[less]
    assert gain.mean() > -gain.std() / np.sqrt(len(gain))
    assert judged["all"].mean() > 1.02 * judged["none"].mean()
    assert judged["all"].mean() > 1.02 * judged["page-blind"].mean()


def test_where_nothing_is_personal_other_sessions_say_nothing(make_shop) -> None:
    shop = make_shop(users=100, personal=0.0)
    log = shop.logs("random", 6000)
    ids = np.array(log.pages["page_id"].to_pylist())[-400:]
    one, other = (knowable_pages(log, ids, "purchase", history=history, visits=8) for history in ("session", "all"))
    assert (one == other).all(axis=1).mean() > 0.98  # sessions of a user that run side by side break each other


def test_where_modules_do_not_act_on_each_other_page_effects_are_nothing_to_know(make_shop, tmp_path) -> None:
    shop = make_shop(pages=600, page_effects="none")
    shop.write(tmp_path)
    ids = np.array([f"p{number:09d}" for number in range(300, 420)])
    pages = [knowable_pages(tmp_path, ids, "click", page_effects=aware, visits=8) for aware in (True, False)]
    assert np.array_equal(*pages)
    assert np.array_equal(pages[0], knowable_pages(tmp_path, ids, "click", visits=8))
