"""The best page by the true model: beam search under the family rule, for one intent or over several it could be.

The oracle page knows the intent of each visit, as no log does. Averaged over visits of a kind, the same search gives
the best page for that kind: what can be known of them.
"""

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
            pages[part] = best_pages(catalog, model, intent.take(part), candidates, objective, width)
        return pages

    return policy


def best_pages(
    catalog: Catalog, model: ClickModel, intent: Intent, candidates: np.ndarray, objective: Objective, width: int
) -> np.ndarray:
    """Pages `[P, slots]` for candidates `[P, N]`, -1 where there is none.

    `intent` holds R visits a page, those of a page side by side (P·R): what is searched for is their mean. R is 1 where
    a page's intent is known. W = width beams.
    """
    pages, count = candidates.shape
    visits = len(intent.stage) // pages
    slots = catalog.params.slots
    offered = np.repeat(candidates, visits, axis=0)

    def by_page(values: np.ndarray) -> np.ndarray:
        return values.reshape(pages, visits, *values.shape[1:])

    relevance = by_page(model.relevance(intent, offered))  # [P, R, N]
    worth = by_page(model.conversion(intent, offered)) if objective == "purchase" else np.ones(relevance.shape)
    examined = by_page(model.examination[intent.platform])  # [P, R, slots]
    family = np.broadcast_to(catalog.modules.family[candidates][:, None, :], (pages, width, count))
    rows, beams = np.arange(pages)[:, None], np.arange(width)

    free = np.repeat((candidates != EMPTY)[:, None, :], width, axis=1)  # [P, W, N] not yet on the page
    earned = np.where(beams == 0, 0.0, -np.inf) + np.zeros((pages, 1))  # [P, W] by the slots that are settled
    last = np.full((pages, width), -1, dtype=np.int64)  # [P, W] family of the module above
    chosen = np.full((pages, width, slots), EMPTY, dtype=np.int64)  # [P, W, slots] places among the candidates

    for slot in range(min(slots, count)):
        allowed = free & (family != last[..., None])
        allowed = np.where(allowed.any(axis=-1, keepdims=True), allowed, free)
        # Under some laws one more module changes what the modules above are worth: then whole pages are valued again.
        first = slot if model.effects.settled else 0
        tried = np.repeat(chosen[:, :, None, : slot + 1], count, axis=2)  # [P, W, N, slot + 1]
        tried[..., slot] = np.arange(count)
        modules = np.where(tried == EMPTY, EMPTY, candidates[rows[:, :, None, None], np.maximum(tried, 0)])
        valued, shown = np.maximum(tried[..., first:], 0), modules[..., first:]
        effects = model.effects.of_slot(modules, slot)[..., None] if first else model.effects.of_modules(modules)
        total = np.zeros(tried.shape[:3])
        for visit in range(visits):
            of_visit, of_worth = (
                np.take_along_axis(each[:, visit], valued.reshape(pages, -1), axis=1).reshape(valued.shape)
                for each in (relevance, worth)
            )
            seen = examined[:, visit, None, None, first : slot + 1]
            total += (model.clicks(of_visit + effects, seen, shown) * of_worth).sum(axis=-1)
        score = np.where(allowed, total + earned[..., None], -np.inf).reshape(pages, width * count)
        # A page that has run out of candidates keeps its beams as they are.
        going = np.isfinite(score).any(axis=1)
        best = np.argsort(-score, axis=1, kind="stable")[:, :width]
        beam, pick = np.divmod(best, count)
        kept = (chosen[rows, beam], free[rows, beam])
        kept[0][..., slot] = pick
        kept[1][rows, beams, pick] = False
        chosen[going], free[going] = (array[going] for array in kept)
        last[going] = family[rows, beam, pick][going]
        reached = score[rows, best]
        earned[going] = np.where(np.isfinite(reached), reached if model.effects.settled else 0.0, -np.inf)[going]
    best_page = chosen[:, 0]
    return np.where(best_page == EMPTY, EMPTY, candidates[rows, np.maximum(best_page, 0)])
