"""The policies that log: random, thompson and production, each with its true propensities.

Every page is given to a policy at random by the traffic shares, page by page, so that what a user did lately says
nothing about the policy of the next page. A snapshot of a day knows the clicks of sessions of earlier days, which all
lie before its midnight.
"""

import numpy as np

from pageopt.policies.static import static_pages
from pageopt.policies.thompson import marginal_propensities, rank_by_score
from pageopt.simulator.catalog import PLATFORMS, Catalog, Stream, stream
from pageopt.simulator.contexts import Contexts

EMPTY = -1
POLICIES = ("random", "thompson", "production")
ALPHA0, BETA0 = 1.0, 99.0
_PRIOR_VIEWS = 500.0  # how much production trusts the popularity it had before the log begins


class Traffic:
    """The logging policies and what they have learned. Use `choose` and `record` by day, in the order of days."""

    def __init__(self, catalog: Catalog) -> None:
        shape = (catalog.params.categories, catalog.params.modules)
        self._catalog = catalog
        self._day = -1
        self._views, self._clicks = np.zeros(shape), np.zeros(shape)  # of exploration pages, by segment, before the day
        self._new_views, self._new_clicks = np.zeros(shape), np.zeros(shape)  # of the day itself
        self._propensity: dict[int, np.ndarray] = {}  # by group: [candidates, slots] of the day's snapshot
        self._production = np.empty((0, 0), dtype=np.int64)

    def choose(
        self, contexts: Contexts, day: int, policy: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pages of the logging policies.

        Args:
            contexts: P pages of `day`.
            day: the day; a new one takes a new snapshot.
            policy: `[P]` index into POLICIES.
            rng: of the draws.

        Returns:
            Module indices `[P, slots]`, -1 where empty, and their propensities `[P, slots]`, NaN where empty.
        """
        if day != self._day:
            self._snapshot(day)
        params = self._catalog.params
        modules = np.full((len(contexts), params.slots), EMPTY, dtype=np.int64)
        propensity = np.full(modules.shape, np.nan)
        fixed = np.flatnonzero(policy == POLICIES.index("production"))
        modules[fixed] = self._production[contexts.group[fixed]]
        propensity[fixed] = np.where(modules[fixed] == EMPTY, np.nan, 1.0)
        drawn = np.flatnonzero(policy != POLICIES.index("production"))
        drawn = drawn[np.argsort(contexts.group[drawn] * len(POLICIES) + policy[drawn], kind="stable")]
        key = contexts.group[drawn] * len(POLICIES) + policy[drawn]
        for rows in np.split(drawn, np.flatnonzero(np.diff(key)) + 1):
            if not len(rows):
                continue
            group = int(contexts.group[rows[0]])
            candidates = self._candidates(group)
            depth = min(params.slots, len(candidates))
            if POLICIES[policy[rows[0]]] == "random":
                shown = rank_by_score(
                    rng.random((len(rows), len(candidates))), np.zeros(len(candidates)), params.slots, None
                )
                propensity[rows, :depth] = 1 / len(candidates)
            else:
                alpha, beta = self._posterior(group)
                shown = rank_by_score(
                    rng.beta(alpha, beta, size=(len(rows), len(candidates))),
                    self._catalog.modules.family[candidates],
                    params.slots,
                    params.thompson_diversity,
                )
                propensity[rows, :depth] = self._marginals(group)[shown, np.arange(depth)]
            modules[rows, :depth] = candidates[shown]
        return modules, propensity

    def record(self, contexts: Contexts, policy: np.ndarray, modules: np.ndarray, clicked: np.ndarray) -> None:
        """Learn from a batch's exploration pages, for the days that follow. `clicked` is bool `[P, slots]`."""
        rows, slots = np.nonzero((modules != EMPTY) & (policy != POLICIES.index("production"))[:, None])
        at = contexts.hero_category[rows] * self._catalog.params.modules + modules[rows, slots]
        size = self._new_views.size
        self._new_views += np.bincount(at, minlength=size).reshape(self._new_views.shape)
        self._new_clicks += np.bincount(at[clicked[rows, slots]], minlength=size).reshape(self._new_views.shape)

    def _snapshot(self, day: int) -> None:
        self._day = day
        self._views += self._new_views
        self._clicks += self._new_clicks
        self._new_views[:], self._new_clicks[:] = 0, 0
        self._propensity.clear()
        views, clicks = self._views.sum(axis=0), self._clicks.sum(axis=0)
        popularity = (clicks + _PRIOR_VIEWS * self._catalog.popularity) / (views + _PRIOR_VIEWS)
        order = np.argsort(-popularity, kind="stable")
        self._production = static_pages(
            order, self._catalog.candidates, self._catalog.modules.family, self._catalog.params.slots
        )

    def _candidates(self, group: int) -> np.ndarray:
        return self._catalog.candidates[group, : self._catalog.candidate_count[group]]

    def _posterior(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        candidates, segment = self._candidates(group), group // len(PLATFORMS)
        clicks, views = self._clicks[segment, candidates], self._views[segment, candidates]
        return ALPHA0 + clicks, BETA0 + views - clicks

    def _marginals(self, group: int) -> np.ndarray:
        """Monte Carlo, at least half a drawn ranking: a module that was shown never has propensity 0."""
        if group not in self._propensity:
            params = self._catalog.params
            alpha, beta = self._posterior(group)
            share = marginal_propensities(
                alpha,
                beta,
                self._catalog.modules.family[self._candidates(group)],
                params.slots,
                params.propensity_samples,
                params.thompson_diversity,
                stream(self._catalog.seed, Stream.SNAPSHOT, self._day, group),
            )
            self._propensity[group] = np.maximum(share, 0.5 / params.propensity_samples)
        return self._propensity[group]
