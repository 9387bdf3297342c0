"""Thompson sampling over modules, by context segment (TRNN paper, section 4.2).

The score of a module in a segment is a draw from Beta(α0 + clicks, β0 + views − clicks); modules are shown in the order
of their draws, after one of two diversity strategies:

- `swap`: scanning down, a module of the same family as the one above it changes places with the next module below, of
  the whole ranking, that is of another family; where there is none it stays.
- `demote`: once a module is chosen, the draws of its family's other modules are multiplied by `DEMOTION`, again with
  each further module of the family.

`ThompsonSampling` keeps the state of one running policy; the functions below it work on arrays, for many pages at once.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from pageopt.errors import ConfigError

Diversity = Literal["swap", "demote"] | None

DEMOTION = 0.1
_SAMPLES_AT_ONCE = 20_000  # rankings held in memory by marginal_propensities


class ThompsonSampling:
    """A Thompson sampling policy over modules.

    Args:
        family_of: module_id → family.
        alpha0: prior clicks.
        beta0: prior views without a click.
        diversity: None, "swap" or "demote" (see the module's docstring).
        seed: of the draws.
    """

    def __init__(
        self,
        family_of: Mapping[str, str],
        alpha0: float = 1.0,
        beta0: float = 99.0,
        diversity: Diversity = None,
        seed: int = 0,
    ) -> None:
        if not (alpha0 > 0 and beta0 > 0):
            raise ConfigError(f"alpha0 and beta0 must be above 0, not {alpha0} and {beta0}.")
        check_diversity(diversity)
        self._family_of = dict(family_of)
        self._codes = {family: code for code, family in enumerate(sorted(set(self._family_of.values())))}
        self._prior = (float(alpha0), float(beta0))
        self._diversity = diversity
        self._rng = np.random.default_rng(seed)
        self._posterior: dict[tuple[str, str], tuple[float, float]] = {}

    def posterior(self, segment: str, module_id: str) -> tuple[float, float]:
        """α and β of a module in a segment; the prior where nothing was seen."""
        return self._posterior.get((segment, module_id), self._prior)

    def rank(self, segment: str, candidates: Sequence[str], slots: int) -> list[str]:
        """Draw a page: module ids from top to bottom, `min(slots, len(candidates))` of them.

        Raises ConfigError for a candidate that `family_of` does not know.
        """
        if not candidates:
            return []
        self._check(candidates)
        posterior = np.array([self.posterior(segment, module) for module in candidates])
        families = np.array([self._codes[self._family_of[module]] for module in candidates])
        draws = self._rng.beta(posterior[:, 0], posterior[:, 1])
        order = rank_by_score(draws[None, :], families, slots, self._diversity)[0]
        return [candidates[position] for position in order]

    def update(self, segment: str, module_ids: Sequence[str], views: Sequence[float], clicks: Sequence[float]) -> None:
        """Add a batch of counts of one segment; a module may appear more than once.

        Args:
            segment: context segment, by default the hero category.
            module_ids: the modules.
            views: how often each was shown.
            clicks: how many of these views were clicked.

        Raises:
            ConfigError: unknown module, arrays of different lengths, or more clicks than views.
        """
        self._check(module_ids)
        if not len(module_ids) == len(views) == len(clicks):
            raise ConfigError(
                f"module_ids, views and clicks of segment {segment!r} must have one length, "
                f"not {len(module_ids)}, {len(views)} and {len(clicks)}."
            )
        for module, seen, clicked in zip(module_ids, views, clicks, strict=True):
            if not 0 <= clicked <= seen:
                raise ConfigError(
                    f"{clicked} clicks in {seen} views of module {module!r}, segment {segment!r}: count each view "
                    "once and at most one click a view."
                )
        for module, seen, clicked in zip(module_ids, views, clicks, strict=True):
            alpha, beta = self.posterior(segment, module)
            self._posterior[segment, module] = (alpha + float(clicked), beta + float(seen) - float(clicked))

    def _check(self, module_ids: Sequence[str]) -> None:
        unknown = sorted({module for module in module_ids if module not in self._family_of})
        if unknown:
            raise ConfigError(f"Modules {unknown[:5]} have no family. Give every module in family_of.")


def rank_by_score(scores: np.ndarray, families: np.ndarray, slots: int, diversity: Diversity) -> np.ndarray:
    """Turn scores into pages.

    Args:
        scores: `[rankings, candidates]`, higher is better; "demote" expects them above 0. Ties go to the earlier
            candidate.
        families: `[candidates]` integer family of each candidate, or `[rankings, candidates]` where they differ.
        slots: slots of the page.
        diversity: None, "swap" or "demote".

    Returns:
        `[rankings, min(slots, candidates)]` positions in the candidates, top to bottom.
    """
    check_diversity(diversity)
    depth = min(slots, scores.shape[1])
    families = np.broadcast_to(families, scores.shape)
    if diversity == "demote":
        return _demote(scores, families, depth)
    order = np.argsort(-scores, axis=1, kind="stable")
    if diversity == "swap":
        _swap(order, families, depth)
    return order[:, :depth]


def marginal_propensities(
    alpha: np.ndarray,
    beta: np.ndarray,
    families: np.ndarray,
    slots: int,
    samples: int,
    diversity: Diversity,
    rng: np.random.Generator,
) -> np.ndarray:
    """P(candidate at slot) of one snapshot of the posterior, by Monte Carlo.

    An entry is the share of `samples` drawn rankings, unbiased, with a standard error of √(p(1−p)/samples).

    Args:
        alpha: `[candidates]` of the Beta posterior.
        beta: `[candidates]` of the Beta posterior.
        families: `[candidates]` integer family of each candidate.
        slots: slots of the page.
        samples: rankings to draw.
        diversity: None, "swap" or "demote".
        rng: where the draws come from.

    Returns:
        `[candidates, slots]`; a column sums to 1, or to 0 below the last candidate.
    """
    counts = np.zeros((len(alpha), slots), dtype=np.int64)
    for start in range(0, samples, _SAMPLES_AT_ONCE):
        draws = rng.beta(alpha, beta, size=(min(_SAMPLES_AT_ONCE, samples - start), len(alpha)))
        shown = rank_by_score(draws, families, slots, diversity)
        at = (shown * slots + np.arange(shown.shape[1])).ravel()
        counts += np.bincount(at, minlength=counts.size).reshape(counts.shape)
    return counts / samples


def check_diversity(diversity: Diversity) -> None:
    """Raises ConfigError for a strategy that there is not."""
    if diversity not in (None, "swap", "demote"):
        raise ConfigError(f"diversity must be null, 'swap' or 'demote', not {diversity!r}.")


def _swap(order: np.ndarray, families: np.ndarray, depth: int) -> None:
    family = np.take_along_axis(families, order, axis=1)
    for slot in range(1, min(depth, order.shape[1] - 1)):
        rows = np.flatnonzero(family[:, slot] == family[:, slot - 1])
        other = family[rows, slot + 1 :] != family[rows, slot - 1, None]
        can = other.any(axis=1)
        rows, partner = rows[can], slot + 1 + other[can].argmax(axis=1)
        for array in (order, family):
            array[rows, slot], array[rows, partner] = array[rows, partner], array[rows, slot]


def _demote(scores: np.ndarray, families: np.ndarray, depth: int) -> np.ndarray:
    left = scores.copy()
    rows = np.arange(len(left))
    chosen = np.empty((len(left), depth), dtype=np.int64)
    for slot in range(depth):
        best = left.argmax(axis=1)
        chosen[:, slot] = best
        left = np.where(families == families[rows, best][:, None], left * DEMOTION, left)
        left[rows, best] = -1.0  # stays below every draw, however often its family is demoted again
    return chosen
