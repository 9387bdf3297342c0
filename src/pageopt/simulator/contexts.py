"""Visits: who comes when, with which intent, to which hero item.

Contexts are exogenous: they never depend on what was shown. A session has a present intent (a category, a direction in
content space, and a stage between browsing and buying) that drifts from page to page; hero items follow it, though not
always. A session lies within its day.

The direction is the sum of what the page shows, its present category and hero item, and of what it does not, the
person's taste and mood. How much of it is of the second kind is a param, because no model can know it: taste shows a
little in what a person clicked before, and mood in nothing.
"""

from dataclasses import dataclass

import numpy as np

from pageopt.simulator.catalog import CONTENT, PLATFORMS, Catalog, Stream, stream

BATCH = 50_000  # pages held in memory at once
SECOND = 1_000_000
DAY = 86_400 * SECOND
START = 1_767_571_200 * SECOND  # Monday 2026-01-05 00:00 UTC, µs
ANONYMOUS = 0.04  # share of sessions without a user
_LONGEST = 20  # pages of a session
_MEAN_LENGTH = 4.0
_FIRST_START, _LAST_START = 6 * 3600, 22.4 * 3600  # seconds of the day; the longest session still ends within it
_LONGEST_GAP = 240.0  # seconds between two pages of a session
# Pulls on content. Of both pairs alone the expected square of the sum is about the same, 6.5.
_CATEGORY, _HERO = 1.4, 1.0
_TASTE, _MOOD = 0.67, 0.61


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
    category: np.ndarray  # int64, category of the present intent (latent)
    direction: np.ndarray  # float32 [P, CONTENT], pull of present intent and hero item on content (latent)
    familiar: np.ndarray  # float32 in [0, 1], how much the present category is the person's own (latent)
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
    category, mood, stage, gap = _intent(rng, catalog, person, length)
    since = np.cumsum(gap)
    ts = START + day * DAY + (begin[at_session] + (since - since[starts][at_session]) * SECOND).astype(np.int64)

    who = person[at_session]
    shown, hidden = np.sqrt(1 - catalog.params.unseen_intent), np.sqrt(catalog.params.unseen_intent)
    before = hidden * (_TASTE * catalog.people.taste[who] + _MOOD * mood)
    before = before + shown * _CATEGORY * catalog.category_content[category]
    hero_category, hero_item = _hero(rng, catalog, category, before)
    direction = before + shown * _HERO * catalog.items.content[hero_item]
    own = catalog.people.preference[who]
    familiar = own[np.arange(pages), category] / own.max(axis=1)

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
        direction=direction[order].astype(np.float32),
        familiar=familiar[order].astype(np.float32),
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


def _intent(
    rng: np.random.Generator, catalog: Catalog, person: np.ndarray, length: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Category [P], mood [P, CONTENT], stage [P] and seconds since the page before [P], by session."""
    sessions, pages = len(person), int(length.sum())
    starts = np.cumsum(length) - length
    chance = np.cumsum(catalog.people.preference, axis=1)
    category = np.empty(pages, dtype=np.int64)
    mood = np.empty((pages, CONTENT))
    stage = np.empty(pages)
    gap = np.clip(rng.exponential(75, pages), 8, _LONGEST_GAP)

    def own_category(who: np.ndarray) -> np.ndarray:
        return np.minimum((chance[who] < rng.random((len(who), 1))).sum(axis=1), catalog.params.categories - 1)

    now_category = own_category(person)
    now_mood = rng.normal(size=(sessions, CONTENT))
    now_stage = rng.beta(1.2, 2.6, sessions)
    for step in range(int(length.max())):
        alive = np.flatnonzero(length > step)
        if step:
            move = rng.random(len(alive))
            complement = catalog.complements[
                now_category[alive], rng.integers(0, catalog.complements.shape[1], len(alive))
            ]
            other = np.where(move < 0.08, complement, own_category(person[alive]))
            now_category[alive] = np.where(move < 0.16, other, now_category[alive])
            now_mood[alive] = 0.9 * now_mood[alive] + np.sqrt(1 - 0.9**2) * rng.normal(size=(len(alive), CONTENT))
            now_stage[alive] = np.clip(now_stage[alive] + rng.normal(0.03, 0.1, len(alive)), 0, 1)
        at = starts[alive] + step
        category[at], mood[at], stage[at] = now_category[alive], now_mood[alive], now_stage[alive]
    return category, mood, stage, gap


def _hero(
    rng: np.random.Generator, catalog: Catalog, category: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Hero category and item: mostly of the present category, the better of two popular items for the direction."""
    pages = len(category)
    chance = rng.random(pages)
    complement = catalog.complements[category, rng.integers(0, catalog.complements.shape[1], pages)]
    anything = rng.choice(catalog.params.categories, size=pages, p=catalog.category_share)
    hero_category = np.where(chance < 0.9, category, np.where(chance < 0.96, complement, anything))
    return hero_category, pick_items(rng, catalog, hero_category, direction, 2)


def pick_items(
    rng: np.random.Generator, catalog: Catalog, category: np.ndarray, direction: np.ndarray, tries: int
) -> np.ndarray:
    """For each row an item of `category` [P]: of `tries` popular ones the closest to `direction` [P, CONTENT]."""
    first, size = catalog.items.first[category], np.diff(catalog.items.first)[category]
    drawn = first[:, None] + (size[:, None] * rng.random((len(category), tries)) ** 2).astype(np.int64)
    fit = np.einsum("pd,ptd->pt", direction, catalog.items.content[drawn])
    return drawn[np.arange(len(category)), fit.argmax(axis=1)]
