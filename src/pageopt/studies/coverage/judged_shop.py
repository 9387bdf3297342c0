"""One shop, policies to judge with their true values, and any number of independent logs of random pages.

All logs are of one shop (modules, availability, how people react), so that there is one page to judge in each context
and one true value to hold the estimates against. Each log has people of its own, drawn anew with their tastes, and
visits of its own: nothing is shared between logs, and the users of a log are a sample of all those who could have come,
which is what a bootstrap over users takes them for. The truth is therefore the value over that whole population, not
over the visits of one log.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from pageopt.evaluation.policy_value import METRICS
from pageopt.features.encoder import Encoder
from pageopt.features.pages import Pages
from pageopt.policies.greedy import EMPTY
from pageopt.policies.static import static_pages
from pageopt.problems.fields import Field
from pageopt.problems.item import ITEM
from pageopt.simulator.catalog import PLATFORMS, Catalog, Stream, build, stream
from pageopt.simulator.contexts import BATCH, Contexts, draw
from pageopt.simulator.model import ClickModel, Intent
from pageopt.simulator.oracle import best_pages
from pageopt.simulator.page_effects import Law
from pageopt.simulator.traffic import POLICIES, Traffic
from pageopt.studies.coverage.settings import Settings

_FIELDS = tuple(field for field in ITEM.fields if field.kind != "text")
_MODULE_FIELDS = tuple(Field(name, "categorical", "module") for name in ("algorithm", "theme", "recall"))
MOST_CLICKED, STATIC, ALIKE, LEARNED = "most clicked", "static", "alike modules", "learned"
ALIKE_CONTENT = "alike in content"
_TRUTH_USERS = 100_000  # of every BATCH of visits
_VISITS = 200  # of a group, that its best page is searched for
_SMOOTHING = 50.0  # views of the overall click rate that a module's rate in a group begins with


@dataclass(frozen=True)
class Truth:
    """Mean clicks or purchases a page, and the standard error of the draw of people and visits it is the mean of."""

    value: float
    standard_error: float


@dataclass(frozen=True)
class Log:
    """A log of random pages.

    Attributes:
        pages: as stage prepare would give them.
        targets: what each policy to judge shows on them, `[pages, slots]`.
        values: exact "ctr" and "ptr" of each policy on the visits of random pages. Visits do not depend on what was
            shown, so that this differs from the population's value by their chance only.
    """

    pages: Pages
    targets: Mapping[str, np.ndarray]
    values: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class JudgedShop:
    """The shop and what is judged in it.

    Attributes:
        catalog: the shop.
        encoder: of what a log shows of its contexts, fitted on the training log.
        targets: policies to judge, each by the page `[groups, slots]` that it shows in an availability group (hero
            category and platform). "static" shows the modules clicked most in the training log, which is none of those
            it is judged on, under the family rule; "alike in content" the first of them and below it whatever is most
            like what stands above, of the half that is clicked more; "most clicked" those clicked most in its group;
            "alike modules" the first of these, and below it the others of its family first, which such a rule is there
            to prevent;
            "learned" the best page for the visits of its group, which knows all that could be learned of page effects.
    """

    catalog: Catalog
    encoder: Encoder
    targets: Mapping[str, np.ndarray]

    @classmethod
    def build(cls, settings: Settings, law: Law) -> "JudgedShop":
        """The shop of `settings` under a law of page effects."""
        params = settings.shop.model_copy(update={"page_effects": law})
        catalog = build(params, settings.seed)
        contexts = _visits(catalog, settings.training_pages)
        modules, _ = _random_pages(catalog, contexts)
        clicked, _ = _rewards(catalog, contexts, modules)
        orders, everywhere = (_most_clicked(catalog, contexts, modules, clicked, own=own) for own in (True, False))
        targets = {
            STATIC: _under_family_rule(catalog, everywhere),
            MOST_CLICKED: _under_family_rule(catalog, orders),
            ALIKE: _family_first(catalog, orders),
            ALIKE_CONTENT: _alike_first(catalog, everywhere),
            LEARNED: _best_of_group(catalog, contexts),
        }
        return cls(catalog, _encoder(catalog, contexts), targets)

    def log(self, seed: int, pages: int, production: int = 0) -> Log:
        """A log of `pages` random pages of other people, with static pages of `production` among them."""
        catalog = _other_people(self.catalog, seed)
        contexts = _visits(catalog, pages + production)
        modules, propensity = _random_pages(catalog, contexts)
        rng = stream(catalog.seed, Stream.POLICY, 0, 1)
        fixed = rng.permutation(len(contexts)) < production
        modules[fixed], propensity[fixed] = self.targets[STATIC][contexts.group[fixed]], 1.0
        propensity[modules == EMPTY] = np.nan
        click, purchase = (reward.astype(np.float32) for reward in _rewards(catalog, contexts, modules))
        fields = _columns(catalog, contexts)
        encoded = self.encoder.encode(fields)
        users = np.array([f"u{person}" for person in contexts.person], dtype=object)
        users[contexts.anonymous] = None
        shown = Pages(
            page_id=np.array([f"p{number}" for number in contexts.number], dtype=object),
            user_id=users,
            ts=contexts.ts,
            policy=np.where(fixed, "production", "random").astype(object),
            platform=fields["platform"],
            platform_index=encoded.categorical[:, self.encoder.categorical_place("platform")],
            fields=fields,
            encoded=encoded,
            module=modules,
            propensity=propensity,
            click=click,
            intent=np.zeros_like(click),
            purchase=purchase,
            attributed=purchase,
            weight=np.ones(len(contexts), dtype=np.float32),
            candidates=catalog.candidates[contexts.group],
        )
        targets = {name: page_of_group[contexts.group] for name, page_of_group in self.targets.items()}
        values = {}
        for name, target in targets.items():
            exact = _values(catalog, contexts, target)[:, ~fixed].mean(axis=1)
            values[name] = dict(zip(METRICS, exact.tolist(), strict=True))
        return Log(shown, targets, values)

    def truth(self, target: str, seed: int, pages: int) -> dict[str, Truth]:
        """True "ctr" and "ptr" of one of `targets`: exact on each of at least `pages` visits of people drawn anew."""
        means: dict[str, list[float]] = {name: [] for name in METRICS}
        crowd = replace(self.catalog, params=self.catalog.params.model_copy(update={"users": _TRUTH_USERS}))
        for number in range(-(-pages // BATCH)):
            contexts = _visits(_other_people(crowd, seed + number), BATCH)
            exact = _values(self.catalog, contexts, self.targets[target][contexts.group]).mean(axis=1)
            for name, value in zip(METRICS, exact.tolist(), strict=True):
                means[name].append(value)
        return {
            name: Truth(float(np.mean(of)), float(np.std(of, ddof=1) / np.sqrt(len(of))) if len(of) > 1 else 0.0)
            for name, of in means.items()
        }


def _other_people(catalog: Catalog, seed: int) -> Catalog:
    """The same shop with the people and the random streams of another seed."""
    return replace(catalog, seed=seed, people=build(catalog.params, seed).people)


def _visits(catalog: Catalog, pages: int) -> Contexts:
    return draw(catalog, day=0, batch=0, first=0, pages=pages)


def _random_pages(catalog: Catalog, contexts: Contexts) -> tuple[np.ndarray, np.ndarray]:
    policy = np.full(len(contexts), POLICIES.index("random"))
    return Traffic(catalog).choose(contexts, 0, policy, stream(catalog.seed, Stream.POLICY, 0, 0))


def _rewards(catalog: Catalog, contexts: Contexts, modules: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which modules were clicked, and which bought from: bool `[pages, slots]` each."""
    model, intent = ClickModel(catalog), Intent.of(contexts)
    chance = stream(catalog.seed, Stream.BEHAVIOUR, 0, 0)
    clicked = model.draw(intent, modules, chance.random(modules.shape))
    return clicked, clicked & (chance.random(modules.shape) < model.conversion(intent, modules))


def _values(catalog: Catalog, contexts: Contexts, target: np.ndarray) -> np.ndarray:
    """`[CTR and PTR, pages]`: what each of the pages `target [pages, slots]` earns on these visits, exactly."""
    click, purchase = ClickModel(catalog).expected(Intent.of(contexts), target)
    return np.stack([click.sum(axis=1), purchase.sum(axis=1)])


def _columns(catalog: Catalog, contexts: Contexts) -> dict[str, np.ndarray]:
    return {
        "platform": np.array(PLATFORMS, dtype=object)[contexts.platform],
        "hero_category": np.array(catalog.categories, dtype=object)[contexts.hero_category],
        "hero_price": np.asarray(catalog.items.price, dtype=np.float64)[contexts.hero_item],
    }


def _encoder(catalog: Catalog, contexts: Contexts) -> Encoder:
    modules = catalog.modules
    table = {
        "module_id": modules.ids.to_pylist(),
        "family": [modules.family_names[number] for number in modules.family],
        "algorithm": modules.algorithms,
        "theme": modules.themes,
        "recall": modules.recalls,
    }
    return Encoder.fit(
        _FIELDS,
        _columns(catalog, contexts),
        _MODULE_FIELDS,
        table,
        slots=catalog.params.slots,
        min_count=1,
        title_tokens=1,
        vocabulary=1,
    )


def _most_clicked(
    catalog: Catalog, contexts: Contexts, modules: np.ndarray, clicked: np.ndarray, *, own: bool
) -> np.ndarray:
    """`[groups, modules]`: all modules by their smoothed click rate, the group's own or that of all, highest first."""
    count = catalog.params.modules
    shape = (catalog.groups, count)
    page, slot = np.nonzero(modules >= 0)
    at = contexts.group[page] * count + modules[page, slot]
    views = np.bincount(at, minlength=catalog.groups * count).reshape(shape)
    clicks = np.bincount(at[clicked[page, slot]], minlength=catalog.groups * count).reshape(shape)
    overall = clicks.sum(axis=0) / np.maximum(views.sum(axis=0), 1)
    rate = (clicks + _SMOOTHING * overall) / (views + _SMOOTHING) if own else np.broadcast_to(overall, shape)
    return np.argsort(-rate, axis=1, kind="stable")


def _best_of_group(catalog: Catalog, contexts: Contexts) -> np.ndarray:
    """`[groups, slots]`: the page with the most expected clicks over visits of each group."""
    rng = np.random.default_rng(catalog.seed)
    some = [rng.choice(np.flatnonzero(contexts.group == group), _VISITS) for group in range(catalog.groups)]
    intent = Intent.of(contexts).take(np.concatenate(some))
    return best_pages(catalog, ClickModel(catalog), intent, catalog.candidates, "click", width=3)


def _under_family_rule(catalog: Catalog, orders: np.ndarray) -> np.ndarray:
    """`[groups, slots]`: the first available ones of `orders [groups, modules]`, no two neighbours of one family."""
    family, slots = catalog.modules.family, catalog.params.slots
    pages = [
        static_pages(order, candidates[None], family, slots)
        for order, candidates in zip(orders, catalog.candidates, strict=True)
    ]
    return np.concatenate(pages)


def _family_first(catalog: Catalog, orders: np.ndarray) -> np.ndarray:
    """`[groups, slots]`: the first available one of `orders [groups, modules]`, then its family, then the others."""
    family, slots = catalog.modules.family, catalog.params.slots
    pages = np.full((catalog.groups, slots), EMPTY, dtype=np.int64)
    for group, (order, candidates) in enumerate(zip(orders, catalog.candidates, strict=True)):
        available = order[np.isin(order, candidates)]
        other = family[available] != family[available[0]]
        page = available[np.argsort(other, kind="stable")][:slots]
        pages[group, : len(page)] = page
    return pages


def _alike_first(catalog: Catalog, orders: np.ndarray) -> np.ndarray:
    """`[groups, slots]`: the first available one of `orders [groups, modules]`, then always the likest to those above.

    Of the better half of the available ones; modules are alike by their content.
    """
    content, slots = catalog.modules.content, catalog.params.slots
    pages = np.full((catalog.groups, slots), EMPTY, dtype=np.int64)
    for group, (order, candidates) in enumerate(zip(orders, catalog.candidates, strict=True)):
        available = order[np.isin(order, candidates)]
        left = available[: max(slots, len(available) // 2)].tolist()
        for slot in range(min(slots, len(left))):
            above = content[pages[group, :slot]].sum(axis=0)
            pages[group, slot] = left.pop(int(np.argmax(content[left] @ above)) if slot else 0)
    return pages
