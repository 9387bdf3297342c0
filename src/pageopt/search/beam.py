"""The reference search: beam search over any scorer, in plain NumPy (paper section 5.2, equation 3).

`pageopt.search.graph` does the same inside one exported graph, and is tested against this.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pageopt.errors import ConfigError

Step = Callable[[tuple[int, ...]], NDArray[np.floating]]


class Page(NamedTuple):
    """An ordered page: `chosen` holds positions in the list of candidates, top slot first."""

    chosen: tuple[int, ...]
    score: float


def allowed(prefix: tuple[int, ...], families: NDArray[np.integer]) -> NDArray[np.intp]:
    """Candidates that may follow `prefix`, in their order.

    A candidate is shown once, and never right below one of its own family. When every candidate that is left is of the
    family above, the rule is lifted rather than leaving the slot empty.
    """
    left = np.setdiff1d(np.arange(len(families)), np.asarray(prefix, dtype=int), assume_unique=True)
    if not prefix:
        return left
    other = left[families[left] != families[prefix[-1]]]
    return other if other.size else left


def beam_search(step: Step, families: NDArray[np.integer], slots: int, width: int, beam_start: int = 1) -> Page:
    """The page with the highest score that the beam finds.

    The score of a page up to slot s is φ = 1 − Π(1 − P), the chance that at least one of its modules is bought from
    (or clicked, where the scorer says so).

    Args:
        step: of a prefix (positions of the modules above, top first), the probability `[candidates]` of each candidate
            in the next slot; what it says of candidates in the prefix is not looked at.
        families: family `[candidates]` of each candidate.
        slots: slots of the page; fewer candidates give a shorter page.
        width: pages kept after each slot; 1 is greedy search.
        beam_start: the slot, from 1, at which the beam opens; only the best page is kept above it.

    Ties go to the page that ranked higher one slot above, then to the earlier candidate.
    Raises ConfigError for a slot, width or start below 1, and for probabilities that are not such.
    """
    for name, value in (("slots", slots), ("width", width), ("beam_start", beam_start)):
        if value < 1:
            raise ConfigError(f"beam_search: {name} = {value}; it must be at least 1.")
    families = np.asarray(families)
    beam = [Page((), 0.0)]
    for slot in range(1, min(slots, len(families)) + 1):
        longer = []
        for page in beam:
            probability = np.asarray(step(page.chosen), dtype=np.float64)
            candidates = allowed(page.chosen, families)
            _check(probability, families, candidates, page.chosen)
            for candidate in candidates:
                score = 1 - (1 - page.score) * (1 - probability[candidate])
                longer.append(Page((*page.chosen, int(candidate)), float(score)))
        # A stable sort keeps the order of a tie: better page first, then earlier candidate.
        beam = sorted(longer, key=lambda page: -page.score)[: width if slot >= beam_start else 1]
    return beam[0]


def _check(
    probability: NDArray[np.float64],
    families: NDArray[np.integer],
    candidates: NDArray[np.intp],
    prefix: tuple[int, ...],
) -> None:
    if probability.shape != families.shape:
        raise ConfigError(
            f"beam_search: step({prefix}) gave shape {probability.shape}; it must be one probability "
            f"for each of {len(families)} candidates."
        )
    value = probability[candidates]
    if not ((value >= 0) & (value <= 1)).all():
        raise ConfigError(f"beam_search: step({prefix}) gave {value.tolist()}; probabilities lie in [0, 1].")
