"""Drift gate: on the same simulated pages, do candidate and champion score and show alike?

Scores are compared by slot (PSI, Jensen-Shannon, Wasserstein), exposure of families by slot (Jensen-Shannon).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pageopt.config import DriftGate
from pageopt.evaluation import distances as drift
from pageopt.policies.decision import Decision
from pageopt.release.gates.verdict import Check, Verdict

SCORES = (("click", 0), ("purchase", 2))


def no_champion(why: str = "no champion") -> Verdict:
    """The verdict where there is nothing to compare with."""
    return Verdict.of("drift", [Check("drift", True, None, None, f"{why}: nothing to compare with")])


def exposure(modules: NDArray[np.int64], module_family: NDArray[np.int64], families: int) -> NDArray[np.int64]:
    """How often each family stands in each slot: [slots, families], of modules [P, K] (-1 empty)."""
    slots = modules.shape[1]
    family = module_family[np.maximum(modules, 0)]
    cell = np.arange(slots)[None, :] * families + family
    return np.bincount(cell[modules >= 0], minlength=slots * families).reshape(slots, families)


def judge(
    candidate: Decision, champion: Decision, module_family: NDArray[np.int64], families: int, limits: DriftGate
) -> Verdict:
    """The verdict on decisions of the same pages, in the same module indices [P, K]; the worst slot decides."""
    slots = min(candidate.modules.shape[1], champion.modules.shape[1])
    measures: list[tuple[str, Callable[..., float], float]] = [
        ("PSI", drift.psi, limits.psi),
        ("Jensen-Shannon", drift.jensen_shannon_of_samples, limits.jensen_shannon),
        ("Wasserstein", drift.wasserstein, limits.wasserstein),
    ]
    checks = []
    for score, index in SCORES:
        for measure, distance, limit in measures:
            by_slot = [
                distance(old, new)
                for slot in range(slots)
                if len(old := champion.probabilities[champion.modules[:, slot] >= 0, slot, index])
                and len(new := candidate.probabilities[candidate.modules[:, slot] >= 0, slot, index])
            ]
            checks.append(_worst(f"{measure} of {score} scores", by_slot, limit))
    shown = zip(
        exposure(champion.modules[:, :slots], module_family, families),
        exposure(candidate.modules[:, :slots], module_family, families),
        strict=True,
    )
    by_slot = [drift.jensen_shannon(old, new) for old, new in shown]
    checks.append(_worst("Jensen-Shannon of family exposure", by_slot, limits.jensen_shannon))
    return Verdict.of("drift", checks)


def _worst(name: str, by_slot: list[float], limit: float) -> Check:
    if not by_slot:
        return Check(name, False, None, limit, f"{name}: no slot that both fill")
    slot = int(np.argmax(by_slot))
    value = by_slot[slot]
    return Check.at_most(name, value, limit, f"{name} {value:.3f} in slot {slot + 1}")
