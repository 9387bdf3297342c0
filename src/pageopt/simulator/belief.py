"""What can be believed of visitors from what a log shows of them: a posterior under the true model, page by page.

Taste, taste for families, the mission's direction and mood enter every log-odds linearly. Their posterior is kept as a
Gaussian, that of the mission's category as chances, and each page changes both as Bayes' rule says, with the
log-likelihood replaced by its second-order approximation at the mode (assumed density filtering: Minka 2001, "A family
of algorithms for approximate Bayesian inference", ch. 3; the mode as in the iterated extended Kalman filter). What is
looked at and clicked counts in full. Left out: the stage, which follows its prior; purchases, carts and watches; and
what the category of a clicked item says of the mission.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pageopt.policies.greedy import EMPTY
from pageopt.simulator.catalog import CONTENT, Catalog, Stream, mission_counts, stream
from pageopt.simulator.contexts import MOOD_KEPT, first_stages, item_log_odds, next_stages
from pageopt.simulator.model import MEAN_STAGE, ClickModel, Intent, sigmoid
from pageopt.simulator.pull import CATEGORY, CHOICE, HERO, MISSION, heroes

_STEPS = 3  # of Newton's method, to the mode
PATHS = 4000  # of stages drawn
_PLACES = 20  # pages of the longest session


@dataclass(frozen=True)
class Page:
    """Pages of some visitors, `[B]` each, as they are when they are asked for."""

    platform: np.ndarray
    hero_item: np.ndarray
    place: np.ndarray  # in the session, from 0


class Beliefs:
    """Of N visitors, by their number. A visitor's pages come in the order of time."""

    def __init__(self, catalog: Catalog, model: ClickModel, visitors: int) -> None:
        params = catalog.params
        self._catalog, self._model = catalog, model
        families = params.families
        ends = np.cumsum([0, CONTENT, families, CONTENT, CONTENT])
        self._taste, self._family, self._mission, self._mood = (slice(start, end) for start, end in pairwise(ends))
        self.mean = np.zeros((visitors, ends[-1]))
        """Of taste, taste for families, the mission's direction and mood; each has variance 1 to begin with."""
        self.covariance = np.tile(np.eye(ends[-1]), (visitors, 1, 1))
        self._heroes = heroes(params, catalog.complements)
        self._everybody = catalog.category_share
        # Counts of own missions by category: those that the prior begins with, and what was seen.
        self._missions = np.tile(mission_counts(params, catalog.category_share), (visitors, 1))
        self.category = self._expected_missions(np.arange(visitors))
        """Chances of the mission's category, `[N, categories]`."""
        self._met = np.zeros(visitors, dtype=bool)
        pull = catalog.pull
        linear = np.zeros((params.modules, ends[-1]))
        linear[:, self._taste] = pull.taste * catalog.modules.content
        linear[np.arange(params.modules), CONTENT + catalog.modules.family] = pull.family
        linear[:, self._mission] = pull.shown * MISSION * catalog.modules.content
        linear[:, self._mood] = pull.mood * catalog.modules.content
        self._linear = linear  # [modules, D] log-odds of a click
        wish = np.zeros((CONTENT, ends[-1]))
        wish[:, self._taste] = np.sqrt(params.personal) * np.eye(CONTENT)
        wish[:, self._mission] = np.sqrt(1 - params.personal) * np.eye(CONTENT)
        self._wish = wish
        rng = stream(catalog.seed, Stream.KNOWABLE)
        paths = [first_stages(rng, PATHS)]
        while len(paths) < _PLACES:
            paths.append(next_stages(rng, paths[-1]))
        self._stages = np.array(paths)  # [places, paths]

    def know(self, person: np.ndarray) -> None:
        """The visitors are people `[N]` whose tastes are known exactly."""
        people, tastes = self._catalog.people, slice(self._taste.start, self._family.stop)
        self.mean[:, tastes] = np.concatenate([people.taste[person], people.family[person]], axis=1)
        self.covariance[:, tastes, tastes] = 0

    def begin(self, who: np.ndarray) -> None:
        """A session begins: its mission and mood are unknown."""
        met = who[self._met[who]]
        self._missions[met] += self._own_missions(met)
        self._met[who] = True
        self.category[who] = self._expected_missions(who)
        for part in (self._mission, self._mood):
            self.mean[who, part] = 0
            self.covariance[who, part, :] = 0
            self.covariance[who, :, part] = 0
            self.covariance[who, part, part] = np.eye(CONTENT)

    def turn(self, who: np.ndarray) -> None:
        """The next page of a session: mood has drifted a little."""
        self.mean[who, self._mood] *= MOOD_KEPT
        self.covariance[who, self._mood, :] *= MOOD_KEPT
        self.covariance[who, :, self._mood] *= MOOD_KEPT
        self.covariance[who, self._mood, self._mood] += (1 - MOOD_KEPT**2) * np.eye(CONTENT)

    def look(self, who: np.ndarray, item: np.ndarray) -> None:
        """Visitors `[B]` come to the page of a hero item `[B]`: it says something of mission and taste."""
        category = self._catalog.items.category[item]
        chance = self.category[who] * self._heroes[:, category].T
        self.category[who] = chance / chance.sum(axis=1, keepdims=True)
        self._learn_wish(who, *self._choices(who, item))

    def react(self, who: np.ndarray, page: Page, modules: np.ndarray, clicked: np.ndarray) -> None:
        """What was shown, `modules [B, slots]`, and the items that were clicked there, `[B, slots]`, -1 for none."""
        self._learn_clicks(who, page, modules, clicked != EMPTY)
        page_at, slot = np.nonzero(clicked != EMPTY)
        if len(page_at):
            information, gradient = self._choices(who[page_at], clicked[page_at, slot])
            starts = np.flatnonzero(np.r_[True, np.diff(page_at) > 0])
            rows = who[page_at[starts]]
            self._learn_wish(rows, np.add.reduceat(information, starts), np.add.reduceat(gradient, starts))

    def draw(self, who: np.ndarray, page: Page, normal: np.ndarray, uniform: np.ndarray, which: np.ndarray) -> Intent:
        """R visits for each of B pages, side by side, drawn from what is believed.

        Args:
            who: visitors `[B]`.
            page: their pages.
            normal: `[B, R, CONTENT + families]` standard normal.
            uniform: `[B]` in [0, 1): where the systematic sample of categories begins.
            which: `[B, R]` which drawn stage.
        """
        catalog, pull, visits = self._catalog, self._catalog.pull, normal.shape[1]
        to = np.zeros((normal.shape[2], self.mean.shape[1]))
        to[:CONTENT, self._taste] = pull.taste * np.eye(CONTENT)
        to[:CONTENT, self._mission] = pull.shown * MISSION * np.eye(CONTENT)
        to[:CONTENT, self._mood] = pull.mood * np.eye(CONTENT)
        to[CONTENT:, self._family] = pull.family * np.eye(catalog.params.families)
        spread = to @ self.covariance[who] @ to.T + 1e-9 * np.eye(len(to))
        drawn = (self.mean[who] @ to.T)[:, None] + normal @ np.linalg.cholesky(spread).transpose(0, 2, 1)
        chance = (np.arange(visits) + uniform[:, None]) / visits
        below = (np.cumsum(self.category[who], axis=1)[:, None] < chance[..., None]).sum(axis=2)
        category = np.minimum(below, catalog.params.categories - 1)
        seen = CATEGORY * catalog.category_content[category]
        seen = seen + HERO * catalog.items.content[page.hero_item][:, None]
        return Intent(
            platform=np.repeat(page.platform, visits),
            hero_category=np.repeat(catalog.items.category[page.hero_item], visits),
            category=category.ravel(),
            direction=(drawn[..., :CONTENT] + pull.shown * seen).reshape(-1, CONTENT).astype(np.float32),
            family=drawn[..., CONTENT:].reshape(-1, catalog.params.families).astype(np.float32),
            stage=self._stages[np.minimum(page.place, _PLACES - 1)[:, None], which].ravel().astype(np.float32),
        )

    def _expected_missions(self, who: np.ndarray) -> np.ndarray:
        own = self._missions[who]
        personal = self._catalog.params.personal
        return personal * own / own.sum(axis=1, keepdims=True) + (1 - personal) * self._everybody

    def _own_missions(self, who: np.ndarray) -> np.ndarray:
        """Chances `[B, categories]` that the session's mission was of a category, and one of the visitor's own kind."""
        own = self._missions[who]
        own = self._catalog.params.personal * own / own.sum(axis=1, keepdims=True)
        return self.category[who] * own / self._expected_missions(who)

    def _choices(self, who: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Information `[B, CONTENT, CONTENT]` on the wish, and the gradient at what is believed, of items chosen."""
        catalog, wish = self._catalog, self.mean[who] @ self._wish.T
        information = np.empty((len(who), CONTENT, CONTENT))
        gradient = np.empty((len(who), CONTENT))
        category = catalog.items.category[item]
        for here in np.unique(category):
            rows = np.flatnonzero(category == here)
            content = catalog.items.content[catalog.items.first[here] : catalog.items.first[here + 1]].astype(
                np.float64
            )
            chance = np.exp(item_log_odds(catalog, here, wish[rows]))
            chance /= chance.sum(axis=1, keepdims=True)
            mean = chance @ content
            square = (content[:, :, None] * content[:, None, :]).reshape(len(content), -1)
            second = (chance @ square).reshape(-1, CONTENT, CONTENT)
            information[rows] = CHOICE**2 * (second - mean[:, :, None] * mean[:, None, :])
            gradient[rows] = CHOICE * (catalog.items.content[item[rows]] - mean)
        return information, gradient

    def _learn_wish(self, who: np.ndarray, information: np.ndarray, gradient: np.ndarray) -> None:
        towards = self.covariance[who] @ self._wish.T
        self._learn(who, towards, self._wish @ towards, information, gradient)

    def _learn_clicks(self, who: np.ndarray, page: Page, modules: np.ndarray, clicked: np.ndarray) -> None:
        model = self._model
        shown = modules != EMPTY
        linear = self._linear[np.where(shown, modules, 0)]  # [B, slots, D]
        towards = self.covariance[who] @ linear.transpose(0, 2, 1)
        inside = linear @ towards
        mean = np.einsum("bkd,bd->bk", linear, self.mean[who])
        fixed = self._fixed(page, modules, clicked)  # [B, slots, categories]
        seen = model.examination[page.platform][..., None]
        # How likely the clicks are in each category, with what is not known of the rest averaged over roughly.
        damped = (mean[..., None] + fixed) / np.sqrt(1 + np.pi / 8 * np.einsum("bkk->bk", inside))[..., None]
        likely = np.where(clicked[..., None], seen * sigmoid(damped), 1 - seen * sigmoid(damped))
        chance = self.category[who] * np.where(shown[..., None], likely, 1.0).prod(axis=1)
        chance /= chance.sum(axis=1, keepdims=True)
        self.category[who] = chance
        at = mean
        for step in range(_STEPS):
            odds = sigmoid(at[..., None] + fixed)
            click = seen * odds
            slope = (1 - odds) * (clicked[..., None] - click) / (1 - click)
            curve = click * np.square(1 - odds) / (1 - click)
            gradient = np.where(shown, np.einsum("bkc,bc->bk", slope, chance), 0.0)
            curvature = np.where(shown, np.einsum("bkc,bc->bk", curve, chance), 0.0)
            gradient = gradient + curvature * (at - mean)
            information = curvature[..., None] * np.eye(modules.shape[1])
            if step < _STEPS - 1:
                solved = np.linalg.solve(np.eye(modules.shape[1]) + information @ inside, gradient[..., None])
                at = mean + (inside @ solved)[..., 0]
        self._learn(who, towards, inside, information, gradient)

    def _fixed(self, page: Page, modules: np.ndarray, clicked: np.ndarray) -> np.ndarray:
        """Log-odds `[B, slots, categories]` that are known once the mission's category is."""
        catalog, model = self._catalog, self._model
        at = np.where(modules == EMPTY, 0, modules)
        hero = catalog.items.category[page.hero_item]
        content = catalog.modules.content[at]
        seen = CATEGORY * content @ catalog.category_content.T
        seen = seen + HERO * np.einsum("bkd,bd->bk", content, catalog.items.content[page.hero_item])[..., None]
        stage = self._stages.mean(axis=1)[np.minimum(page.place, _PLACES - 1)] - MEAN_STAGE
        known = model.base[at] + catalog.modules.late[at] * stage[:, None] + model.effects.of_modules(modules)
        above = np.cumsum(clicked, axis=1) - clicked
        known = known + model.effects.per_click * above
        return known[..., None] + catalog.pull.shown * seen + catalog.pull.aim[at, hero[:, None]]

    def _learn(
        self, who: np.ndarray, towards: np.ndarray, inside: np.ndarray, information: np.ndarray, gradient: np.ndarray
    ) -> None:
        """Bayes' rule for K linear forms of what is believed, of which the log-likelihood is quadratic.

        Args:
            who: visitors `[B]`.
            towards: covariance of all with the forms, `[B, D, K]`.
            inside: that of the forms, `[B, K, K]`.
            information: minus the second derivative of the log-likelihood `[B, K, K]`.
            gradient: its first derivative at the mean, `[B, K]`.
        """
        solved = np.linalg.inv(np.eye(inside.shape[1]) + information @ inside)
        self.mean[who] += (towards @ (solved @ gradient[..., None]))[..., 0]
        self.covariance[who] -= towards @ (solved @ information) @ towards.transpose(0, 2, 1)
