"""Parity gate: does the exported graph decide as the trained model does?

Two references. On all simulated pages the same search in PyTorch (`PageGraph`, eager); on some of them the search in
NumPy over the model's own training forward, which shares no search and no factorised layer with the graph. A page whose
search met two choices closer than rounding is a near-tie: either page is right, and it is counted apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pageopt.config import ParityGate
from pageopt.engine.bundle import Bundle
from pageopt.features.encoder import EncodedPages
from pageopt.models.item.heads import HEADS
from pageopt.models.item.network import PageNetwork
from pageopt.policies.decision import Decision
from pageopt.release.gates.verdict import Check, Verdict
from pageopt.search.beam import Page, Step, allowed, beam_search

TIE = 1e-6
_LOOKED_AT = 20


@dataclass(frozen=True)
class Agreement:
    """How two deciders agree on P pages.

    same, ties, different: pages. error: largest difference of a probability on the same pages.
    """

    same: int
    ties: int
    different: int
    error: float


def scorer(model: PageNetwork, encoded: EncodedPages, page: int, candidates: NDArray[np.int64], objective: str) -> Step:
    """Probability of `objective` for every candidate below a prefix, from the model's training forward pass."""
    head = HEADS.index(objective)
    modules = torch.as_tensor(candidates)
    inputs = [
        torch.as_tensor(array[page : page + 1]).expand(len(modules), *[-1] * (array.ndim - 1))
        for array in (encoded.categorical, encoded.numeric, encoded.tokens)
    ]

    def step(prefix: tuple[int, ...]) -> NDArray[np.float64]:
        above = modules[list(prefix)].expand(len(modules), -1)
        with torch.inference_mode():
            logits = model(*inputs, torch.cat([above, modules[:, None]], 1))[:, -1, head]
        return torch.sigmoid(logits.double()).numpy()

    return step


def reference(step: Step, families: NDArray[np.int64], search: Bundle) -> tuple[Page, float]:
    """The reference search's page, and the smallest gap between a choice that it took and the next one it left."""
    seen: dict[tuple[int, ...], NDArray[np.float64]] = {}

    def recorded(prefix: tuple[int, ...]) -> NDArray[np.float64]:
        seen[prefix] = np.asarray(step(prefix), dtype=np.float64)
        return seen[prefix]

    page = beam_search(recorded, families, search.slots, search.width, search.beam_start)
    gap = np.inf
    for depth in range(len(page.chosen)):
        scores = sorted(
            (
                _score(seen, (*prefix, int(candidate)))
                for prefix in seen
                if len(prefix) == depth
                for candidate in allowed(prefix, families)
            ),
            reverse=True,
        )
        last = depth + 1 == len(page.chosen)
        keep = 1 if last or depth + 1 < search.beam_start else search.width
        if keep < len(scores):
            gap = min(gap, scores[keep - 1] - scores[keep])
    return page, float(gap)


def _score(seen: dict[tuple[int, ...], NDArray[np.float64]], page: tuple[int, ...]) -> float:
    return 1 - float(np.prod([1 - seen[page[:slot]][module] for slot, module in enumerate(page)]))


def compare(expected: Decision, actual: Decision, gap: Callable[[int], float]) -> Agreement:
    """Hold the decisions of the same pages against each other. `gap(p)`: the closest call of the search on page p.

    Where more than a few pages differ it is no matter of rounding: the rest are not looked at and count as different.
    """
    same = (expected.modules == actual.modules).all(axis=1)
    apart = np.flatnonzero(~same)
    looked_at = apart[:_LOOKED_AT]
    ties = sum(abs(expected.score[page] - actual.score[page]) < TIE or gap(int(page)) < TIE for page in looked_at)
    error = np.abs(expected.probabilities[same] - actual.probabilities[same]).max(initial=0.0)
    return Agreement(int(same.sum()), int(ties), len(apart) - int(ties), float(error))


def agreement_with_reference(
    model: PageNetwork,
    encoded: EncodedPages,
    candidates: NDArray[np.int64],
    family: NDArray[np.int64],
    actual: Decision,
    pages: NDArray[np.int64],
    search: Bundle,
) -> Agreement:
    """Hold `actual` decisions against the reference search on some `pages` [n]: the pages, and their scores."""
    same = ties = different = 0
    error = 0.0
    for page in pages.tolist():
        offered = candidates[page][candidates[page] >= 0]
        step = scorer(model, encoded, page, offered, search.objective)
        best, gap = reference(step, family[offered], search)
        chosen = actual.modules[page][actual.modules[page] >= 0]
        if np.array_equal(offered[list(best.chosen)], chosen):
            same += 1
            error = max(error, abs(best.score - float(actual.score[page])))
        elif gap < TIE:
            ties += 1
        else:
            different += 1
    return Agreement(same, ties, different, error)


def spread(counts: NDArray[np.int64], pages: int) -> NDArray[np.int64]:
    """About `pages` page indices that cover every candidate count above 0, the same number of each."""
    groups = [np.flatnonzero(counts == count) for count in np.unique(counts[counts > 0])]
    each = -(-pages // max(1, len(groups)))
    return np.sort(np.concatenate([group[:each] for group in groups])) if groups else np.empty(0, dtype=np.int64)


def judge(eager: Agreement, beam: Agreement, counts: NDArray[np.int64], limits: ParityGate) -> Verdict:
    """The verdict on both agreements; `counts` [P] are the candidate counts of the simulated pages."""
    sizes = np.unique(counts)
    pages = eager.same + eager.ties + eager.different
    return Verdict.of(
        "parity",
        [
            Check(
                "probabilities",
                eager.error <= limits.tolerance,
                eager.error,
                limits.tolerance,
                f"probabilities differ by at most {eager.error:.1e}, {limits.tolerance:.0e} allowed; {eager.same:,} of "
                f"{pages:,} pages are the same, {eager.ties} near-ties, at {len(sizes)} candidate counts "
                f"({sizes.min(initial=0)} to {sizes.max(initial=0)})",
            ),
            Check.none_of("pages", eager.different, f"{eager.different} of {pages:,} pages differ"),
            Check.none_of(
                "pages of the reference search",
                beam.different,
                f"{beam.different} of {beam.same + beam.ties + beam.different} pages differ from the reference search "
                f"({beam.ties} near-ties)",
            ),
            Check.at_most(
                "scores of the reference search",
                beam.error,
                limits.tolerance,
                f"scores of the reference search differ by at most {beam.error:.1e}",
                "{:.0e} allowed",
            ),
        ],
    )
