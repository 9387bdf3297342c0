"""The policies that log: random, thompson and production, each with its true propensities.

Every page is given to a policy at random by the traffic shares, page by page, so that what a user did lately says
nothing about the policy of the next page. A snapshot of a day knows the clicks of sessions of earlier days, which all
lie before its midnight.

A snapshot's marginal propensities are kept beside the log, in table `exploration`: by day, segment (hero category),
platform (with the segment, the availability group), module and slot, with the α and β that they follow from. Groups
without a Thompson page that day are left out, so the table has at most days · groups · candidates · slots rows.
"""

from dataclasses import dataclass

import numpy as np

from pageopt.policies.greedy import EMPTY
from pageopt.policies.static import static_order, static_pages
from pageopt.policies.thompson import marginal_propensities, rank_by_score
from pageopt.simulator.catalog import PLATFORMS, Catalog, Stream, stream
from pageopt.simulator.contexts import Contexts

POLICIES = ("random", "thompson", "production")
ALPHA0, BETA0 = 1.0, 99.0
_PRIOR_VIEWS = 500.0  # how much production trusts the popularity it had before the log begins


@dataclass(frozen=True)
class Snapshot:
    """The posterior of an availability group on a day, and the marginal propensities of its Thompson pages."""

    day: int
    group: int
    candidates: np.ndarray  # [candidates] module index
    alpha: np.ndarray  # [candidates]
    beta: np.ndarray  # [candidates]
    probability: np.ndarray  # [candidates, slots] P(candidate at slot), as logged


class Traffic:
    """The logging policies and what they have learned. Use `choose` and `record` by day, in the order of days."""

    def __init__(self, catalog: Catalog) -> None:
        shape = (catalog.params.categories, catalog.params.modules)
        self._catalog = catalog
        self._day = -1
        self._views, self._clicks = np.zeros(shape), np.zeros(shape)  # of exploration pages, by segment, before the day
        self._new_views, self._new_clicks = np.zeros(shape), np.zeros(shape)  # of the day itself
        self._snapshots: dict[int, Snapshot] = {}  # of the day, by group
        self._fresh: list[Snapshot] = []
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
            self._begin(day)
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
                snapshot = self._snapshot(group)
                shown = rank_by_score(
                    rng.beta(snapshot.alpha, snapshot.beta, size=(len(rows), len(candidates))),
                    self._catalog.modules.family[candidates],
                    params.slots,
                    params.thompson_diversity,
                )
                propensity[rows, :depth] = snapshot.probability[shown, np.arange(depth)]
            modules[rows, :depth] = candidates[shown]
        return modules, propensity

    def record(self, contexts: Contexts, policy: np.ndarray, modules: np.ndarray, clicked: np.ndarray) -> None:
        """Learn from a batch's exploration pages, for the days that follow. `clicked` is bool `[P, slots]`."""
        rows, slots = np.nonzero((modules != EMPTY) & (policy != POLICIES.index("production"))[:, None])
        at = contexts.hero_category[rows] * self._catalog.params.modules + modules[rows, slots]
        size = self._new_views.size
        self._new_views += np.bincount(at, minlength=size).reshape(self._new_views.shape)
        self._new_clicks += np.bincount(at[clicked[rows, slots]], minlength=size).reshape(self._new_views.shape)

    def fresh_snapshots(self) -> list[Snapshot]:
        """The snapshots first used since the last call."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def _begin(self, day: int) -> None:
        self._day = day
        self._views += self._new_views
        self._clicks += self._new_clicks
        self._new_views[:], self._new_clicks[:] = 0, 0
        self._snapshots.clear()
        views, clicks = self._views.sum(axis=0), self._clicks.sum(axis=0)
        popularity = (clicks + _PRIOR_VIEWS * self._catalog.popularity) / (views + _PRIOR_VIEWS)
        order = static_order(popularity)
        self._production = static_pages(
            order, self._catalog.candidates, self._catalog.modules.family, self._catalog.params.slots
        )

    def _candidates(self, group: int) -> np.ndarray:
        return self._catalog.candidates[group, : self._catalog.candidate_count[group]]

    def _snapshot(self, group: int) -> Snapshot:
        """The day's, drawn once. No propensity is below half a drawn ranking: what was shown never has propensity 0."""
        if group not in self._snapshots:
            params = self._catalog.params
            candidates, segment = self._candidates(group), group // len(PLATFORMS)
            clicks, views = self._clicks[segment, candidates], self._views[segment, candidates]
            alpha, beta = ALPHA0 + clicks, BETA0 + views - clicks
            share = marginal_propensities(
                alpha,
                beta,
                self._catalog.modules.family[candidates],
                params.slots,
                params.propensity_samples,
                params.thompson_diversity,
                stream(self._catalog.seed, Stream.SNAPSHOT, self._day, group),
            )
            probability = np.maximum(share, 0.5 / params.propensity_samples)
            probability[:, len(candidates) :] = 0.0  # slots below the last candidate stay empty
            snapshot = Snapshot(self._day, group, candidates, alpha, beta, probability)
            self._snapshots[group] = snapshot
            self._fresh.append(snapshot)
        return self._snapshots[group]
