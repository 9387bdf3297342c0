"""The share of the knowable uplift: how far a policy gets from the static page to the best page that can be known."""

from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pyarrow as pa

from pageopt.errors import EvaluationError
from pageopt.policies.static import static_order, static_pages
from pageopt.simulator import truth
from pageopt.simulator.catalog import PLATFORMS
from pageopt.simulator.oracle import Objective

_SURE = 0.999  # one-sided: how sure an excess over the knowable must be
_SLACK = 0.03  # of the uplift: what more beams and visits find beyond `knowable_pages`


@dataclass(frozen=True)
class Share:
    """Of the knowable uplift over the static page, with its interval."""

    value: float
    low: float
    high: float


def static_by(source: Path | pa.Table, page_ids: np.ndarray, objective: Objective) -> np.ndarray:
    """The static page `[P, slots]` of modules ranked by what they truly earn alone, in clicks or purchases.

    Arguments and errors as `truth.expected`.
    """
    shop, intent = truth.visits(source, page_ids)
    catalog, which = shop.catalog, 1 if objective == "purchase" else 0
    candidates = catalog.candidates[intent.hero_category * len(PLATFORMS) + intent.platform]
    worth = np.zeros(catalog.params.modules)
    for module in range(len(worth)):
        rows = np.flatnonzero((candidates == module).any(axis=1))
        if len(rows):
            alone = shop.model.expected(intent.take(rows), np.full((len(rows), 1), module))
            worth[module] = alone[which].mean()
    return static_pages(static_order(worth), candidates, catalog.modules.family, catalog.params.slots)


def share_of_knowable(
    value: np.ndarray,
    static: np.ndarray,
    knowable: np.ndarray,
    users: np.ndarray | None = None,
    confidence: float = 0.95,
) -> Share:
    """How much of the uplift of `knowable` over `static` a policy reaches.

    Args:
        value: `[P]` true clicks or purchases of the policy's pages.
        static: those of the static page.
        knowable: those of `knowable_pages` for the same objective.
        users: `[P]` whose pages they are, None each where no user is known; pages of one user are no independent ones.
        confidence: of the interval, by the delta method.

    Raises:
        EvaluationError: nothing can be known there, or the policy is surely above what can be known.
    """
    uplift = float(np.mean(knowable - static))
    if uplift <= 0:
        raise EvaluationError(
            f"The knowable pages earn {uplift:.4f} more than the static page: there is no uplift to take a share of. "
            "Judge by another objective, or on more pages."
        )
    share = float(np.mean(value - static)) / uplift
    rest = value - static - share * (knowable - static)
    names = np.arange(len(rest)) if users is None else _clusters(users)
    error = float(np.sqrt(np.square(np.bincount(names, rest)).sum())) / (len(rest) * uplift)
    if share - NormalDist().inv_cdf(_SURE) * error > 1 + _SLACK:
        raise EvaluationError(
            f"The policy reaches {share:.0%} of the knowable uplift, more than a log can tell. Look for what it reads "
            "that no log shows at a page's time: events after it, the truth, or the judged pages themselves."
        )
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    return Share(share, share - z * error, share + z * error)


def _clusters(users: np.ndarray) -> np.ndarray:
    named = np.array([f"page {row}" if user is None else f"user {user}" for row, user in enumerate(users)])
    return np.unique(named, return_inverse=True)[1]
