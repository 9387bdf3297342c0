"""The oracle page: beam search with the true model, under the family rule. No policy that logs can know this much."""

from typing import Literal

import numpy as np

from pageopt.policies.greedy import EMPTY
from pageopt.simulator.catalog import Catalog
from pageopt.simulator.contexts import Contexts
from pageopt.simulator.model import ClickModel, Intent, Policy

Objective = Literal["click", "purchase"]
_PAGES_AT_ONCE = 1024


def oracle(catalog: Catalog, model: ClickModel, objective: Objective, width: int) -> Policy:
    """The policy that shows, on each page, the best page found in terms of expected clicks or purchases."""

    def policy(contexts: Contexts) -> np.ndarray:
        intent = Intent.of(contexts)
        pages = np.full((len(contexts), catalog.params.slots), EMPTY, dtype=np.int64)
        for start in range(0, len(contexts), _PAGES_AT_ONCE):
            part = slice(start, start + _PAGES_AT_ONCE)
            candidates = catalog.candidates[contexts.group[part]]
            pages[part] = _search(catalog, model, intent.take(part), candidates, objective, width)
        return pages

    return policy


def _search(
    catalog: Catalog, model: ClickModel, intent: Intent, candidates: np.ndarray, objective: Objective, width: int
) -> np.ndarray:
    """Pages `[P, slots]` for candidates `[P, N]`, -1 where there is none. W = width beams."""
    pages, count = candidates.shape
    slots = catalog.params.slots
    relevance = model.relevance(intent, candidates)
    worth = model.conversion(intent, candidates) if objective == "purchase" else np.ones(candidates.shape)
    family = np.broadcast_to(catalog.modules.family[candidates][:, None, :], (pages, width, count))
    examined = model.examination[intent.platform]
    rows, beams = np.arange(pages)[:, None], np.arange(width)

    free = np.repeat((candidates != EMPTY)[:, None, :], width, axis=1)  # [P, W, N] not yet on the page
    alive = np.where(beams == 0, 0.0, -np.inf) + np.zeros((pages, 1))  # [P, W]
    last = np.full((pages, width), -1, dtype=np.int64)  # [P, W] family of the module above
    chosen = np.full((pages, width, slots), EMPTY, dtype=np.int64)  # [P, W, slots] places among the candidates

    for slot in range(min(slots, count)):
        allowed = free & (family != last[..., None])
        allowed = np.where(allowed.any(axis=-1, keepdims=True), allowed, free)
        # Every page that one more module makes, whole: under some laws it changes what the modules above are worth.
        tried = np.repeat(chosen[:, :, None, : slot + 1], count, axis=2)  # [P, W, N, slot + 1]
        tried[..., slot] = np.arange(count)
        page, at = np.arange(pages)[:, None, None, None], np.maximum(tried, 0)
        modules = np.where(tried == EMPTY, EMPTY, candidates[page, at])
        log_odds = relevance[page, at] + model.effects.of_modules(modules)
        click = model.clicks(log_odds, examined[:, None, None, : slot + 1], modules)
        total = (click * worth[page, at]).sum(axis=-1) + alive[..., None]
        total = np.where(allowed, total, -np.inf).reshape(pages, width * count)
        # A page that has run out of candidates keeps its beams as they are.
        going = np.isfinite(total).any(axis=1)
        best = np.argsort(-total, axis=1, kind="stable")[:, :width]
        beam, pick = np.divmod(best, count)
        kept = (chosen[rows, beam], free[rows, beam])
        kept[0][..., slot] = pick
        kept[1][rows, beams, pick] = False
        chosen[going], free[going] = (array[going] for array in kept)
        last[going] = family[rows, beam, pick][going]
        alive[going] = np.where(np.isfinite(total[rows, best]), 0.0, -np.inf)[going]
    best_page = chosen[:, 0]
    return np.where(best_page == EMPTY, EMPTY, candidates[rows, np.maximum(best_page, 0)])
