"""The oracle page: beam search with the true model, under the family rule. No policy that logs can know this much."""

from typing import Literal

import numpy as np

from pageopt.policies.greedy import EMPTY
from pageopt.simulator.catalog import Catalog
from pageopt.simulator.contexts import Contexts
from pageopt.simulator.model import ClickModel, Intent, Policy, bounded, sigmoid

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
    relevance = model.relevance(intent, candidates)[:, None, :]
    worth = model.conversion(intent, candidates)[:, None, :] if objective == "purchase" else 1.0
    family = np.broadcast_to(catalog.modules.family[candidates][:, None, :], (pages, width, count))
    examined = model.examination[intent.platform]
    rows = np.arange(pages)[:, None]

    free = np.repeat((candidates != EMPTY)[:, None, :], width, axis=1)  # [P, W, N] not yet on the page
    effect = np.zeros((pages, width, count), dtype=np.float32)  # [P, W, N] sum of what the modules above add
    score = np.full((pages, width), -np.inf)  # [P, W]
    score[:, 0] = 0.0
    last = np.full((pages, width), -1, dtype=np.int64)  # [P, W] family of the module above
    chosen = np.full((pages, width, slots), EMPTY, dtype=np.int64)

    for slot in range(min(slots, count)):
        allowed = free & (family != last[..., None])
        allowed = np.where(allowed.any(axis=-1, keepdims=True), allowed, free)
        gain = examined[:, slot, None, None] * sigmoid(relevance + bounded(effect)) * worth
        total = np.where(allowed, score[..., None] + gain, -np.inf).reshape(pages, width * count)
        # A page that has run out of candidates keeps its beams as they are.
        going = np.isfinite(total).any(axis=1)
        best = np.argsort(-total, axis=1, kind="stable")[:, :width]
        beam, pick = np.divmod(best, count)
        module = candidates[rows, pick]
        kept = (chosen[rows, beam], free[rows, beam], effect[rows, beam])
        kept[0][..., slot] = module
        kept[1][rows, np.arange(width), pick] = False
        if catalog.params.page_effects:
            kept[2][...] += catalog.interaction[candidates[:, None, :], module[..., None]]
        chosen[going], free[going], effect[going] = (array[going] for array in kept)
        last[going] = family[rows, beam, pick][going]
        score[going] = total[rows, best][going]
    return chosen[:, 0]
