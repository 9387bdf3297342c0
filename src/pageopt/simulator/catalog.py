"""What the shop is made of: items, modules and where they are available, people, and how modules act on each other.

All of it follows from the params and the seed. Items, modules and tastes live in a content space of `CONTENT`
dimensions; what a module is worth, and how much a second one like it adds, depends on its own content vector, not on
the name of its family.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pyarrow as pa

from pageopt.config import ShopParams
from pageopt.errors import ConfigError
from pageopt.simulator import words
from pageopt.simulator.pull import OWN_CONTENT, Aim, Pull, pull

CONTENT = 8
PLATFORMS = ("desktop", "mobile_web", "app")
PLATFORM_SHARES = (0.4, 0.25, 0.35)
COMPLEMENTS = 2  # complementary categories of a category


class Stream(IntEnum):
    """One random stream a purpose, so that a change in one leaves the others as they are."""

    CATALOG = 0
    PEOPLE = 1
    CONTEXTS = 2
    POLICY = 3
    SNAPSHOT = 4
    BEHAVIOUR = 5
    KNOWABLE = 6


def stream(seed: int, purpose: Stream, *at: int) -> np.random.Generator:
    """The generator of a purpose, at a place such as (day, batch)."""
    return np.random.default_rng((seed, int(purpose), *at))


@dataclass(frozen=True)
class Items:
    """Items, ordered by category, the most popular of a category first."""

    category: np.ndarray  # [items] int
    content: np.ndarray  # [items, CONTENT] float32
    price: np.ndarray  # [items]
    first: np.ndarray  # [categories + 1] where a category's items begin
    ids: pa.Array  # string
    titles: list[str]
    brands: list[str]


@dataclass(frozen=True)
class Modules:
    """Modules; index = position in the order of module_id."""

    family: np.ndarray  # [modules] int
    aim: np.ndarray  # [modules] Aim
    fixed_category: np.ndarray  # [modules] int, -1 where the aim is another
    content: np.ndarray  # [modules, CONTENT] float32, length 1
    quality: np.ndarray  # [modules] log-odds of a click
    late: np.ndarray  # [modules] further log-odds of a click at stage 1, buyers, over stage 0, browsers
    conversion: np.ndarray  # [modules] log-odds of a purchase, given a click
    ids: pa.Array  # string
    family_names: list[str]
    algorithms: list[str]
    themes: list[str]
    recalls: list[str]


@dataclass(frozen=True)
class People:
    """Long-term tastes."""

    taste: np.ndarray  # [people, CONTENT] float32, each of variance 1
    family: np.ndarray  # [people, families] float32, taste for kinds of module, each of variance 1
    preference: np.ndarray  # [people, categories] float32, of missions; rows sum to 1
    activity: np.ndarray  # [people] cumulative share of sessions
    platform: np.ndarray  # [people] int, the platform they mostly use


@dataclass(frozen=True)
class Catalog:
    """The shop without its visits."""

    params: ShopParams
    seed: int
    items: Items
    modules: Modules
    people: People
    categories: list[str]
    category_content: np.ndarray  # [categories, CONTENT] float32
    category_share: np.ndarray  # [categories]
    complements: np.ndarray  # [categories, COMPLEMENTS] int
    candidates: (
        np.ndarray
    )  # [groups, candidates] module index, ascending, -1 at the end; group = category·platforms + platform
    candidate_count: np.ndarray  # [groups]
    pull: Pull
    interaction: np.ndarray  # [modules, modules] float32: what the column's module, above, adds to the row's log-odds
    popularity: np.ndarray  # [modules] click rate that production believed in before the log begins

    @property
    def groups(self) -> int:
        """Availability groups: (hero category, platform)."""
        return len(self.candidates)

    def family_pull(self, person: np.ndarray) -> np.ndarray:
        """Log-odds `[P, families]` float32 that people `[P]` add to a click on each family."""
        return np.float32(self.pull.family) * self.people.family[person]


def build(params: ShopParams, seed: int) -> Catalog:
    """Draw the shop. Raises ConfigError where the params leave no room for one."""
    if params.families > params.modules:
        raise ConfigError(
            f"collect.simulator: {params.families} families need at least as many modules, not {params.modules}."
        )
    if params.items < params.categories:
        raise ConfigError(f"collect.simulator: {params.categories} categories need as many items, not {params.items}.")
    if params.available > params.modules:
        raise ConfigError(
            f"collect.simulator: {params.available} modules cannot be available on a page; there are {params.modules}."
        )
    if seed < 0:
        raise ConfigError(f"collect.seed must be 0 or more, not {seed}.")
    rng = stream(seed, Stream.CATALOG)
    categories = [words.nth(words.CATEGORIES, number) for number in range(params.categories)]
    category_content = _directions(rng, params.categories)
    category_share = _zipf(params.categories, 0.6)
    complements = _complements(rng, params.categories)
    items = _items(rng, params, categories, category_content, category_share)
    modules = _modules(rng, params, categories, category_content)
    candidates, count = _availability(rng, params, modules.family)
    people, mission_share = _people(params, seed, category_share)
    return Catalog(
        params=params,
        seed=seed,
        items=items,
        modules=modules,
        people=people,
        categories=categories,
        category_content=category_content,
        category_share=category_share,
        complements=complements,
        candidates=candidates,
        candidate_count=count,
        pull=pull(
            params,
            content=modules.content,
            family=modules.family,
            aim=modules.aim,
            fixed_category=modules.fixed_category,
            category_content=category_content,
            complements=complements,
            mission_share=mission_share,
        ),
        interaction=_interaction(rng, modules.content),
        popularity=1 / (1 + np.exp(2.4 - modules.quality - rng.normal(0, 0.3, params.modules))),
    )


def _directions(rng: np.random.Generator, count: int) -> np.ndarray:
    return _unit(rng.normal(size=(count, CONTENT))).astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _zipf(count: int, exponent: float) -> np.ndarray:
    share = np.arange(1, count + 1) ** -exponent
    return share / share.sum()


def _complements(rng: np.random.Generator, categories: int) -> np.ndarray:
    ring = rng.permutation(categories)
    shifts = [1 + shift % (categories - 1) for shift in range(COMPLEMENTS)]
    complements = np.empty((categories, COMPLEMENTS), dtype=np.int64)
    for column, shift in enumerate(shifts):
        complements[ring, column] = np.roll(ring, -shift)
    return complements


def _items(
    rng: np.random.Generator,
    params: ShopParams,
    categories: list[str],
    category_content: np.ndarray,
    category_share: np.ndarray,
) -> Items:
    drawn = rng.choice(params.categories, size=params.items - params.categories, p=category_share)
    category = np.sort(np.concatenate([np.arange(params.categories), drawn]))
    own = rng.normal(size=(params.items, CONTENT))
    content = (category_content[category] + OWN_CONTENT * _unit(own)).astype(np.float32)
    price = np.round(np.exp(rng.normal(3.2, 0.6, params.categories)[category] + rng.normal(0, 0.7, params.items)), 2)
    # A style word says in which direction an item differs from its category: two words an axis, one for each sign.
    axis = np.abs(own).argmax(axis=1)
    style = 2 * axis + (own[np.arange(params.items), axis] > 0)
    brand = rng.integers(0, 4, params.items) + category * 3
    noun = rng.integers(0, 1000, params.items)
    filler = rng.integers(0, len(words.FILLERS), (params.items, 2))
    titles = [
        " ".join(
            (
                words.nth(words.BRANDS, b),
                words.STYLES[s],
                words.nouns(categories[c])[n % len(words.nouns(categories[c]))],
                words.FILLERS[f[0]],
                words.FILLERS[f[1]],
            )
        )
        for c, b, s, n, f in zip(category, brand, style, noun, filler, strict=True)
    ]
    return Items(
        category=category,
        content=content,
        price=np.maximum(price, 0.5),
        first=np.searchsorted(category, np.arange(params.categories + 1)),
        ids=pa.array([f"i{number:06d}" for number in range(params.items)]),
        titles=titles,
        brands=[words.nth(words.BRANDS, number) for number in brand],
    )


def _modules(
    rng: np.random.Generator, params: ShopParams, categories: list[str], category_content: np.ndarray
) -> Modules:
    count = params.modules
    family = rng.permutation(np.arange(count) % params.families)
    family_aim = rng.permutation(np.arange(params.families) % len(Aim))
    family_algorithm = rng.permutation(np.arange(params.families) % len(words.ALGORITHMS))
    own_way = rng.random(count) < 0.2  # some modules aim elsewhere than their family
    aim = np.where(own_way, rng.integers(0, len(Aim), count), family_aim[family])
    algorithm = np.where(own_way, rng.integers(0, len(words.ALGORITHMS), count), family_algorithm[family])
    fixed = np.where(aim == Aim.FIXED, rng.integers(0, params.categories, count), -1)
    content = 0.8 * _directions(rng, params.families)[family] + 0.7 * _directions(rng, count)
    content = content + np.where(fixed[:, None] >= 0, 0.4 * category_content[fixed], 0.0)
    content = _unit(content).astype(np.float32)
    names = [words.nth(words.FAMILIES, number) for number in range(params.families)]
    axis = np.abs(content).argmax(axis=1)
    theme = 2 * axis + (content[np.arange(count), axis] > 0)
    quality = rng.normal(0, 0.4, params.families)[family] + rng.normal(0, 0.35, count)
    return Modules(
        family=family,
        aim=aim,
        fixed_category=fixed,
        content=content,
        quality=quality,
        late=rng.normal(0, 0.7, count),
        conversion=rng.normal(0, 0.5, count),
        ids=pa.array([f"m{number:04d}" for number in range(count)]),
        family_names=names,
        algorithms=[words.ALGORITHMS[number] for number in algorithm],
        themes=[words.STYLES[number] for number in theme],
        recalls=[
            f"category {categories[c]}" if c >= 0 else Aim(a).name.lower() for a, c in zip(aim, fixed, strict=True)
        ],
    )


def _availability(rng: np.random.Generator, params: ShopParams, family: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    groups = params.categories * len(PLATFORMS)
    size = np.round(params.available * rng.uniform(0.75, 1.25, groups)).astype(np.int64)
    size = np.clip(size, min(2, params.modules), params.modules)
    candidates = np.full((groups, size.max()), -1, dtype=np.int64)
    for group, count in enumerate(size):
        shuffled = rng.permutation(params.modules)
        # One module of as many families as slots comes first, so that no page is made of one or two families.
        _, one_a_family = np.unique(family[shuffled], return_index=True)
        one_a_family = rng.permutation(one_a_family)[: params.slots]
        ordered = np.concatenate([shuffled[one_a_family], np.delete(shuffled, one_a_family)])
        candidates[group, :count] = np.sort(ordered[:count])
    return candidates, size


def _interaction(rng: np.random.Generator, content: np.ndarray) -> np.ndarray:
    rotation, _ = np.linalg.qr(rng.normal(size=(CONTENT, CONTENT)))
    alike = content @ content.T
    completing = content @ (content @ rotation).T  # a module above, rotated, points at what completes it
    effect = -3.0 * np.clip((alike - 0.15) / 0.85, 0, 1) + 1.2 * np.clip((completing - 0.3) / 0.7, 0, 1)
    np.fill_diagonal(effect, 0.0)
    return effect.astype(np.float32)


def mission_counts(params: ShopParams, category_share: np.ndarray) -> np.ndarray:
    """`[categories]` own missions of each that a person seems to have had before the first: the shape of a gamma."""
    return 0.15 + 0.35 * category_share * params.categories


def _people(params: ShopParams, seed: int, category_share: np.ndarray) -> tuple[People, np.ndarray]:
    """People, and how many of all missions are of each category, whoever they are."""
    rng = stream(seed, Stream.PEOPLE)
    shape = mission_counts(params, category_share)
    own = rng.gamma(shape, size=(params.users, params.categories)) + 1e-4
    # Where taste is not personal, what people look for is not either: nobody's history says more than another's.
    preference = params.personal * own / own.sum(axis=1, keepdims=True) + (1 - params.personal) * category_share
    activity = np.cumsum(rng.gamma(0.8, size=params.users) + 1e-3)
    people = People(
        taste=rng.normal(size=(params.users, CONTENT)).astype(np.float32),
        family=rng.normal(size=(params.users, params.families)).astype(np.float32),
        preference=preference.astype(np.float32),
        activity=activity / activity[-1],
        platform=rng.choice(len(PLATFORMS), size=params.users, p=PLATFORM_SHARES),
    )
    return people, params.personal * shape / shape.sum() + (1 - params.personal) * category_share
