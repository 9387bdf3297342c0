"""Visits: who comes when, on which mission, to which hero item.

Contexts are exogenous: they never depend on what was shown. A session has a mission, a category and a direction in
content space, which lasts as long as it does, a mood that drifts, and a stage between browsing and buying. Items that
are looked at follow the mission and the person's taste, though the hero item may be off the mission. A session lies
within its day.
"""

from dataclasses import dataclass

import numpy as np

from pageopt.simulator.catalog import CONTENT, PLATFORMS, Catalog, Stream, stream
from pageopt.simulator.pull import CATEGORY, CHOICE, HERO, MISSION

BATCH = 50_000  # pages held in memory at once
SECOND = 1_000_000
DAY = 86_400 * SECOND
START = 1_767_571_200 * SECOND  # Monday 2026-01-05 00:00 UTC, µs
ANONYMOUS = 0.04  # share of sessions without a user
_LONGEST = 20  # pages of a session
_MEAN_LENGTH = 4.0
_FIRST_START, _LAST_START = 6 * 3600, 22.4 * 3600  # seconds of the day; the longest session still ends within it
LONGEST_GAP = 240.0  # seconds between two pages of a session
MOOD_KEPT = 0.9  # of the mood, from page to page


@dataclass(frozen=True)
class Contexts:
    """Pages of one batch, in time order. `[P]` unless said otherwise."""

    number: np.ndarray  # int64, unique over the log
    session: np.ndarray  # int64, within the batch
    person: np.ndarray  # int64; an anonymous visit has one too, which the log does not name
    anonymous: np.ndarray  # bool
    ts: np.ndarray  # int64 µs
    platform: np.ndarray  # int64 index into PLATFORMS
    hero_item: np.ndarray  # int64
    hero_category: np.ndarray  # int64
    group: np.ndarray  # int64 availability group
    category: np.ndarray  # int64, category of the mission (latent)
    wish: np.ndarray  # float32 [P, CONTENT], what mission and taste make of items (latent)
    direction: np.ndarray  # float32 [P, CONTENT], log-odds of a click a unit of a module's content (latent)
    family: np.ndarray  # float32 [P, families], log-odds of a click that the person adds to each family (latent)
    stage: np.ndarray  # float32 in [0, 1], 0 browsing, 1 buying (latent)

    def __len__(self) -> int:
        return len(self.number)


def plan(pages: int, days: int) -> list[tuple[int, int, int, int]]:
    """How `pages` pages fall on days and batches: (day, batch, number of its first page, pages)."""
    batches = []
    first = 0
    for day in range(days):
        left = pages * (day + 1) // days - pages * day // days
        batch = 0
        while left:
            count = min(left, BATCH)
            batches.append((day, batch, first, count))
            first, left, batch = first + count, left - count, batch + 1
    return batches


def draw(catalog: Catalog, day: int, batch: int, first: int, pages: int) -> Contexts:
    """Exactly `pages` contexts of a day's batch."""
    rng = stream(catalog.seed, Stream.CONTEXTS, day, batch)
    length = _session_lengths(rng, pages)
    sessions = len(length)
    person = np.searchsorted(catalog.people.activity, rng.random(sessions))
    platform = np.where(
        rng.random(sessions) < 0.85, catalog.people.platform[person], rng.integers(0, len(PLATFORMS), sessions)
    )
    anonymous = rng.random(sessions) < ANONYMOUS
    begin = (_FIRST_START + (_LAST_START - _FIRST_START) * rng.beta(2.2, 1.6, sessions)) * SECOND

    starts = np.cumsum(length) - length
    at_session = np.repeat(np.arange(sessions), length)
    chance = np.cumsum(catalog.people.preference, axis=1)
    drawn = (chance[person] < rng.random((sessions, 1))).sum(axis=1)
    category = np.minimum(drawn, catalog.params.categories - 1)[at_session]
    mission = rng.normal(size=(sessions, CONTENT))[at_session]
    mood, stage = _frame_of_mind(rng, length)
    gap = np.clip(rng.exponential(75, pages), 8, LONGEST_GAP)
    since = np.cumsum(gap)
    ts = START + day * DAY + (begin[at_session] + (since - since[starts][at_session]) * SECOND).astype(np.int64)

    who = person[at_session]
    taste, pull, personal = catalog.people.taste[who], catalog.pull, catalog.params.personal
    wish = (np.sqrt(personal) * taste + np.sqrt(1 - personal) * mission).astype(np.float32)
    hero_category = _hero_category(rng, catalog, category)
    hero_item = pick_items(rng, catalog, hero_category, wish)
    shown = CATEGORY * catalog.category_content[category] + MISSION * mission + HERO * catalog.items.content[hero_item]
    direction = pull.taste * taste + pull.mood * mood + pull.shown * shown

    order = np.argsort(ts, kind="stable")
    device = platform[at_session]
    return Contexts(
        number=first + np.arange(pages),
        session=at_session[order],
        person=who[order],
        anonymous=anonymous[at_session][order],
        ts=ts[order],
        platform=device[order],
        hero_item=hero_item[order],
        hero_category=hero_category[order],
        group=(hero_category * len(PLATFORMS) + device)[order],
        category=category[order],
        wish=wish[order],
        direction=direction[order].astype(np.float32),
        family=catalog.family_pull(who[order]),
        stage=stage[order].astype(np.float32),
    )


def _session_lengths(rng: np.random.Generator, pages: int) -> np.ndarray:
    enough = int(pages / _MEAN_LENGTH * 1.5) + 50
    length = np.minimum(rng.geometric(1 / _MEAN_LENGTH, enough), _LONGEST)
    total = np.cumsum(length)
    while total[-1] < pages:
        length = np.concatenate([length, np.minimum(rng.geometric(1 / _MEAN_LENGTH, enough), _LONGEST)])
        total = np.cumsum(length)
    last = int(np.searchsorted(total, pages))
    length = length[: last + 1]
    length[-1] -= total[last] - pages
    return length


def _frame_of_mind(rng: np.random.Generator, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mood [P, CONTENT], each of variance 1, and stage [P], session by session."""
    sessions, pages = len(length), int(length.sum())
    starts = np.cumsum(length) - length
    mood, stage = np.empty((pages, CONTENT)), np.empty(pages)
    now_mood = rng.normal(size=(sessions, CONTENT))
    now_stage = first_stages(rng, sessions)
    for step in range(int(length.max())):
        alive = np.flatnonzero(length > step)
        if step:
            now_mood[alive] = MOOD_KEPT * now_mood[alive]
            now_mood[alive] += np.sqrt(1 - MOOD_KEPT**2) * rng.normal(size=(len(alive), CONTENT))
            now_stage[alive] = next_stages(rng, now_stage[alive])
        mood[starts[alive] + step], stage[starts[alive] + step] = now_mood[alive], now_stage[alive]
    return mood, stage


def first_stages(rng: np.random.Generator, sessions: int) -> np.ndarray:
    """Between 0, browsing, and 1, buying: where `sessions` visits begin."""
    return rng.beta(1.2, 2.6, sessions)


def next_stages(rng: np.random.Generator, stage: np.ndarray) -> np.ndarray:
    """The same, one page later."""
    return np.clip(stage + rng.normal(0.03, 0.1, len(stage)), 0, 1)


def _hero_category(rng: np.random.Generator, catalog: Catalog, category: np.ndarray) -> np.ndarray:
    pages, count = len(category), catalog.params.categories
    complement = catalog.complements[category, rng.integers(0, catalog.complements.shape[1], pages)]
    other = (category + rng.integers(1, count, pages)) % count
    elsewhere = np.where(rng.random(pages) < 0.5, complement, other)
    return np.where(rng.random(pages) < catalog.params.off_mission, elsewhere, category)


def pick_items(rng: np.random.Generator, catalog: Catalog, category: np.ndarray, wish: np.ndarray) -> np.ndarray:
    """For each row an item of `category` [P], by popularity and by how it fits the `wish` [P, CONTENT]."""
    item = np.empty(len(category), dtype=np.int64)
    chance = rng.random(len(category))
    for here in np.unique(category):
        rows = np.flatnonzero(category == here)
        total = np.cumsum(np.exp(item_log_odds(catalog, here, wish[rows])), axis=1)
        below = (total < (chance[rows] * total[:, -1])[:, None]).sum(axis=1)
        item[rows] = catalog.items.first[here] + np.minimum(below, total.shape[1] - 1)
    return item


def item_log_odds(catalog: Catalog, category: int, wish: np.ndarray) -> np.ndarray:
    """Log-odds `[P, items of the category]` of an item to be the one that is looked at."""
    content = catalog.items.content[catalog.items.first[category] : catalog.items.first[category + 1]]
    popular = np.sqrt(np.arange(len(content) + 1) / len(content))
    return np.log(np.diff(popular)) + CHOICE * (wish @ content.T)
