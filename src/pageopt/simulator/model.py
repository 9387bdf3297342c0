"""The true model of clicks and purchases, exact for any page.

    P(click at s | clicks above) = θ_s(platform) · σ(relevance(module, person, mission and mood, hero item)
                                                     + page effect(modules) + per_click · clicks above)
    P(purchase at s) = P(click at s) · P(purchase | click, module, person, mission and mood, hero item)

Expected CTR and PTR are sums of these. But for the law "clicks" per_click is 0, and clicks are independent given the
page; under it the chance of so many clicks above is carried from slot to slot, which is exact too.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import numpy as np

from pageopt.policies.greedy import EMPTY
from pageopt.simulator.catalog import PLATFORMS, Catalog
from pageopt.simulator.contexts import Contexts
from pageopt.simulator.page_effects import PageEffects

_FADING = {"desktop": 0.13, "mobile_web": 0.34, "app": 0.22}  # fall of examination from slot to slot, at slot_bias 1
_EXAMINED = {"desktop": 1.0, "mobile_web": 0.9, "app": 1.0}  # examination of slot 1
# Log-odds.
_CLICK, _PURCHASE = -2.9, -2.8  # of a module of mean quality that matches nothing
MEAN_STAGE = 0.35
_BUYER = 3.0  # how much likelier a purchase is at stage 1 than at stage 0
_FIT_BUYS = 0.35  # how much of the match with the intent also makes a purchase likelier

Policy = Callable[[Contexts], np.ndarray]
"""Contexts of P pages → ordered module indices `[P, K]`, -1 where a slot is empty. One page a context: not random."""


@runtime_checkable
class LearningPolicy(Protocol):
    """A policy that learns from what it showed, day by day: give a new one to each run of the shop.

    Of the contexts it may use what a real shop sees: person unless anonymous, platform, hero item and category, group
    and time. Category, wish, direction, pull of families and stage are latent.
    """

    def choose(self, contexts: Contexts, day: int) -> tuple[np.ndarray, np.ndarray]:
        """Pages of some contexts of `day`, in the order of time.

        Returns:
            Module indices `[P, K]`, -1 where a slot is empty, and the chance of each to be in its slot `[P, K]`, NaN
            where it is not known.
        """

    def record(self, contexts: Contexts, modules: np.ndarray, clicked: np.ndarray) -> None:
        """Clicks `[P, slots]` bool on the modules `[P, slots]` that it chose, before it chooses again.

        A policy in daily batches keeps them until `choose` is asked for another day.
        """


@dataclass(frozen=True)
class Intent:
    """The part of a context that the model reads; `[P]` unless said otherwise."""

    platform: np.ndarray
    hero_category: np.ndarray
    category: np.ndarray
    direction: np.ndarray  # [P, CONTENT] float32
    family: np.ndarray  # [P, families] float32
    stage: np.ndarray

    @classmethod
    def of(cls, contexts: Contexts) -> "Intent":
        """What the model reads of `contexts`."""
        return cls(*(getattr(contexts, field.name) for field in fields(cls)))

    def take(self, rows: np.ndarray | slice) -> "Intent":
        """Some of the pages."""
        return Intent(*(getattr(self, field.name)[rows] for field in fields(self)))


class ClickModel:
    """The true model over a catalog. Module arrays hold indices, `EMPTY` where a slot is empty."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.base = _CLICK + catalog.modules.quality
        """Log-odds `[modules]` of a click on what matches nothing, and turns nobody away."""
        self.effects = PageEffects(catalog.params.page_effects, catalog.interaction, catalog.modules.family)
        slot = np.arange(catalog.params.slots)
        bias = catalog.params.slot_bias
        self.examination = np.array([_EXAMINED[name] / (1 + bias * _FADING[name] * slot) for name in PLATFORMS])
        """θ [platforms, slots]"""
        self._buys = _PURCHASE + float(np.log(catalog.params.purchases))

    def fit(self, intent: Intent, modules: np.ndarray) -> np.ndarray:
        """How well modules `[P, J]` match the intent, apart from their quality: log-odds `[P, J]` float32."""
        at = np.where(modules == EMPTY, 0, modules)
        content = np.einsum("pd,pjd->pj", intent.direction, self._catalog.modules.content[at])
        aim = self._catalog.pull.aim[at, intent.hero_category[:, None], intent.category[:, None]]
        return content + aim + np.take_along_axis(intent.family, self._catalog.modules.family[at], axis=1)

    def relevance(self, intent: Intent, modules: np.ndarray) -> np.ndarray:
        """Log-odds `[P, J]` of a click on modules `[P, J]` that are examined, before page effects."""
        at = np.where(modules == EMPTY, 0, modules)
        late = self._catalog.modules.late[at] * (intent.stage[:, None] - MEAN_STAGE)
        return self.base[at] + self.fit(intent, modules) + late

    def conversion(self, intent: Intent, modules: np.ndarray) -> np.ndarray:
        """P(purchase | click) `[P, J]` of modules `[P, J]`."""
        at = np.where(modules == EMPTY, 0, modules)
        ready = _BUYER * (intent.stage[:, None] - MEAN_STAGE)
        return sigmoid(
            self._buys + self._catalog.modules.conversion[at] + _FIT_BUYS * self.fit(intent, modules) + ready
        )

    def expected(self, intent: Intent, modules: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """P(click) and P(purchase) of every slot of the pages `[P, K]`; 0 where a slot is empty. Two `[P, K]`."""
        click = self.clicks(self._log_odds(intent, modules), self._examined(intent, modules), modules)
        return click, click * self.conversion(intent, modules)

    def clicks(self, log_odds: np.ndarray, examined: np.ndarray, modules: np.ndarray) -> np.ndarray:
        """P(click) `[..., K]` of pages `[..., K]` by their log-odds before any click and their examination."""
        shown = modules != EMPTY
        if not self.effects.per_click:
            return np.where(shown, examined * sigmoid(log_odds), 0.0)
        click = np.zeros(modules.shape)
        chance = np.zeros((*modules.shape[:-1], modules.shape[-1] + 1))  # of so many clicks above
        chance[..., 0] = 1.0
        for slot in range(modules.shape[-1]):
            count = np.arange(slot + 1)
            here = log_odds[..., slot, None] + self.effects.per_click * count
            given = np.where(shown[..., slot, None], examined[..., slot, None] * sigmoid(here), 0.0)
            clicked = chance[..., : slot + 1] * given
            click[..., slot] = clicked.sum(axis=-1)
            chance[..., : slot + 1] -= clicked
            chance[..., 1 : slot + 2] += clicked
        return click

    def draw(self, intent: Intent, modules: np.ndarray, chance: np.ndarray) -> np.ndarray:
        """Which modules of the pages `[P, K]` are clicked, bool `[P, K]`, for `chance [P, K]` uniform in [0, 1)."""
        log_odds, examined = self._log_odds(intent, modules), self._examined(intent, modules)
        clicked = np.zeros(modules.shape, dtype=bool)
        for slot in range(modules.shape[1]):
            here = log_odds[:, slot] + self.effects.per_click * clicked.sum(axis=1)
            clicked[:, slot] = (modules[:, slot] != EMPTY) & (chance[:, slot] < examined[:, slot] * sigmoid(here))
        return clicked

    def _log_odds(self, intent: Intent, modules: np.ndarray) -> np.ndarray:
        return self.relevance(intent, modules) + self.effects.of_modules(modules)

    def _examined(self, intent: Intent, modules: np.ndarray) -> np.ndarray:
        return self.examination[intent.platform, : modules.shape[1]]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-np.asarray(x, dtype=np.float64)))
