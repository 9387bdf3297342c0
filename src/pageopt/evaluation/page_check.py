"""Can the estimate of a whole page be trusted: what a q̂ misses of page effects, and the page whose clicks are known.

The score test asks whether rewards go on where the modules above say so, beyond what q̂ knows of it:

    z = Σ e·(r − q̂) / √Σ_users(Σ e·(r − q̂))²

e are the log-odds that the rest of the page gives by the page-aware q̂, less what module and slot or module and context
say of them: the rest of a page follows from what is available there, and of that a q̂ by slot knows. z is near 0 for a
q̂ that misses nothing that the page-aware one can see. The check of the production page estimates, from the pages of the
logging policies, what production earned on its own pages, where its clicks are known.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pageopt.evaluation.estimate import Floats, UserBootstrap
from pageopt.evaluation.page_reward import PageRows
from pageopt.evaluation.page_values import PageValues

MISSED = 2.5
"""The score above which q̂ misses page effects. Far below 0 it takes noise for them, which the corrections of
`page_values` take back and their intervals hold.
"""
MOST_OFF, OFF = 0.05, 3.0
"""Production is off where its estimate is by more than this share of its clicks, and so many standard errors."""
_LOOSER = 10.0  # of the correction, as in `page_values`
_FEWEST = 200  # production pages to compare with


@dataclass(frozen=True)
class Production:
    """Clicks a page of production: as logged, as estimated, and how many standard errors lie between."""

    logged: float
    estimated: float
    z: float
    pages: int

    @property
    def off(self) -> bool:
        """Whether the estimate misses what is known."""
        return abs(self.z) > OFF and abs(self.estimated - self.logged) > MOST_OFF * self.logged


@dataclass(frozen=True)
class PageCheck:
    """Whether page-aware estimates can be trusted; `problems` says why not, in sentences, and is empty where they can.

    Attributes:
        score, score_by_slot: of the page-aware q̂ and of the slot-wise one.
        strength, around: what was chosen for the page-aware q̂: how strictly pairs are held near 0, and whether modules
            below have a say.
        production: None where the log has too few production pages.
    """

    score: float
    score_by_slot: float
    strength: float
    around: bool
    production: Production | None
    problems: list[str]

    @property
    def slots_mislead(self) -> bool:
        """Whether modules act on each other in a way that estimates by slot do not see."""
        return self.score_by_slot > MISSED


def check_pages(values: PageValues, q_by_slot: Floats, user_id: NDArray, production: Production | None) -> PageCheck:
    """Both checks of the page-aware q̂ on logged pages; `q_by_slot [pages, K]` is P(click) by the slot-wise one."""
    score, by_slot = (score_test(values, q, user_id) for q in (values.rows.click, q_by_slot))
    problems = []
    if score > MISSED:
        problems.append(
            f"clicks follow what stands above more than the page-aware reward model knows (score {score:+.1f}, the "
            f"limit is {MISSED}): pages unlike those of the log are misjudged. More exploration pages teach it"
        )
    if production is not None and production.off:
        problems.append(
            f"production pages earned {production.logged:.3f} clicks each, and the estimate says "
            f"{production.estimated:.3f} ({production.z:+.1f} standard errors). Are propensities and candidates logged "
            "as they were?"
        )
    return PageCheck(score, by_slot, values.model.strength, values.model.design.around, production, problems)


def score_test(values: PageValues, q: Floats, user_id: NDArray) -> float:
    """z of P(click) `q [pages, K]` on logged pages of `user_id [pages]`."""
    shown = values.logged >= 0
    page, slot = np.nonzero(shown)
    module, rest = values.logged[page, slot], values.rows.effect[page, slot]
    said = [slot, *values.encoded.categorical[page].T]
    for of in [*said, *said]:  # twice: what one takes out brings a little of another back
        cell = module * (int(of.max(initial=0)) + 1) + of
        rest = rest - (np.bincount(cell, rest) / np.maximum(np.bincount(cell), 1))[cell]
    effect = np.zeros(shown.shape)
    effect[page, slot] = rest
    by_page = (effect * (values.rewards["click"] - q)).sum(axis=1, where=shown)
    return _by_user(user_id).z(by_page)


def check_production(
    values: PageValues,
    user_id: NDArray,
    rows: PageRows,
    fold: NDArray[np.int64],
    module: NDArray[np.int64],
    click: Floats,
    production_user_id: NDArray,
) -> Production | None:
    """The estimate of production's pages `module [production pages, K]` beside their `click`; None of few pages.

    q̂ of these very pages (`rows`, by the models of their `fold`), corrected by what q̂ misses on the logged pages of
    each module in each slot, as often as production shows it there.
    """
    count, slots = module.shape
    if count < _FEWEST:
        return None
    size = len(values.model.design.family) * slots

    def cells(shown: NDArray) -> NDArray[np.int64]:
        return np.where(shown >= 0, shown * slots + np.arange(slots), size)

    wanted = np.bincount(cells(module).ravel(), minlength=size + 1) / count
    there = np.bincount(cells(values.logged).ravel(), minlength=size + 1)
    wanted[size] = 0
    weight = (wanted / np.maximum(there, 1))[cells(values.logged)]
    own = np.where(module >= 0, 1 / count, 0.0)
    gradients = values.gradients(rows, fold, [own]) - values.gradients(values.rows, values.fold, [weight])
    missed = values.rewards["click"] - values.rows.click
    corrected = ((weight + values.alpha(gradients[..., 0], _LOOSER)) * missed).sum(axis=1)
    logged = float(click.sum() / count)
    estimated = float(rows.click.sum() / count + corrected.sum())
    gap = np.concatenate([(own * (rows.click - click)).sum(axis=1), corrected])
    return Production(logged, estimated, _by_user(np.concatenate([production_user_id, user_id])).z(gap), count)


def _by_user(user_id: NDArray) -> UserBootstrap:
    return UserBootstrap(len(user_id), user_id, replicates=1)
