"""Quality gate: would the candidate's pages earn more than the static page's, and no less than those of champions?

Judged on the lower bound of the relative change, estimated on the same test pages for both sides, so that what they
have in common cancels out. A bound of a 95 % interval is a one-sided test at 2.5 %: so often a candidate whose true
change is just the limit would pass.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pageopt.config import EvaluateParams, QualityGate
from pageopt.evaluation.compare import PolicyValue, Terms, compare
from pageopt.evaluation.estimate import Estimate, Floats, UserBootstrap
from pageopt.evaluation.page_check import MISSED, PageCheck
from pageopt.evaluation.power import (
    ENOUGH_EVENTS,
    POWER,
    SHOWN_LIFT,
    detectable_difference,
    pages_needed,
    planned_variance,
    variance_by_unit,
)
from pageopt.release.gates.verdict import Check, Verdict


@dataclass(frozen=True)
class WithPower:
    """A limit that is asked where a log would see a relative gain of `seen` with a chance of 80 %, else `otherwise`."""

    limit: float
    seen: float
    otherwise: float


Limit = float | WithPower | None


def over_static(limits: QualityGate) -> dict[str, Limit]:
    """What is asked over the static page."""
    purchases: Limit = limits.ptr_over_static
    if limits.ptr_over_static is not None:
        purchases = WithPower(limits.ptr_over_static, limits.ptr_gain_seen, limits.ptr_without_power)
    return {"CTR": limits.ctr_over_static, "PTR": purchases}


def over_champion(limits: QualityGate) -> dict[str, Limit]:
    """What is asked over the champion, and over the best version of some time."""
    return {"CTR": limits.ctr_over_champion, "PTR": limits.ptr_over_champion}


@dataclass(frozen=True)
class Comparison:
    """One measure of the candidate against one other decider.

    name: as in "CTR over the static page". change: relative (0.1 is ten percent more), null where there is none.
    why_not: why there is none. counts_against: whether that speaks against the candidate.
    limit: what the lower bound must be above, null where it is only shown. level: how often one passes whose true
    change is the limit. lowered: why the limit is lower than params ask, null where it is not.
    pages: of the estimate. pages_needed: for an interval narrow enough to decide, null where more pages would not help.
    """

    name: str
    change: Estimate | None
    limit: float | None
    pages: int
    level: float = 0.025
    lowered: str | None = None
    pages_needed: int | None = None
    why_not: str | None = None
    counts_against: bool = False


def comparisons(
    candidate: PolicyValue,
    other: PolicyValue,
    than: str,
    limits: Mapping[str, Limit],
    params: EvaluateParams,
) -> list[Comparison]:
    """CTR and PTR of the candidate against another decider `than`; limits by "CTR" and "PTR" (none: not in the log)."""
    gain = compare(candidate, other, params)
    bootstrap = UserBootstrap(len(candidate.rows), candidate.user_id, replicates=1, confidence=params.confidence)
    rows = []
    for measure, difference, first, second in (
        ("CTR", gain.ctr, candidate.ctr, other.ctr),
        ("PTR", gain.ptr, candidate.ptr, other.ptr),
    ):
        if measure not in limits:
            why = "the log holds no purchases, not judged"
            rows.append(Comparison(f"{measure} over {than}", None, None, len(first), why_not=why))
            continue
        limit, lowered = _limit(limits[measure], first, second, bootstrap)
        row = Comparison(f"{measure} over {than}", None, limit, len(first), (1 - params.confidence) / 2, lowered)
        if difference.relative is None:
            why = f"not enough evidence: {than} itself is not clearly above zero on {len(first):,} test pages"
            rows.append(replace(row, why_not=why, counts_against=limit is not None))
            continue
        terms = [(policy.click if measure == "CTR" else policy.purchase) for policy in (candidate, other)]
        least = min(terms, key=lambda each: each.matched)
        if least.matched < ENOUGH_EVENTS:
            why = _too_few(least, len(first), params.confidence)
            rows.append(replace(row, why_not=why, counts_against=limit is not None))
            continue
        needed = None
        if limit is not None:
            # A relative change above the limit is a positive mean of first - (1 + limit) · second.
            excess = first - (1 + limit) * second
            if excess.mean() > 0:
                variance = variance_by_unit(excess, bootstrap)
                needed = pages_needed(variance, float(excess.mean()), confidence=params.confidence)
        rows.append(replace(row, change=difference.relative, pages_needed=needed))
    return rows


def _limit(limit: Limit, first: Floats, second: Floats, bootstrap: UserBootstrap) -> tuple[float | None, str | None]:
    """The limit to go by, and why it is lower than asked where it is."""
    if not isinstance(limit, WithPower):
        return limit, None
    variance, baseline = variance_by_unit(first - second, bootstrap), float(second.mean())
    least = detectable_difference(variance, len(first), confidence=bootstrap.confidence)
    if baseline > 0 and least <= limit.seen * baseline:
        return limit.limit, None
    sees = f"gains of {least / baseline:.0%} or more" if baseline > 0 else "no gain"
    asked = (
        f"{limit.limit:+.1%} is asked of logs that see {limit.seen:.0%} in {POWER:.0%} of cases, this one sees {sees}"
    )
    return limit.otherwise, asked


def _too_few(terms: Terms, pages: int, confidence: float) -> str:
    """Why an estimate that rests on a handful of rewards is none, and what it would take."""
    why = (
        f"not enough evidence: only {terms.matched} rewards on {pages:,} test pages fell where the log shows what a "
        f"policy wants, {ENOUGH_EVENTS} are the least"
    )
    rate, matching = terms.reward.mean(axis=0), terms.weight[terms.weight > 0]
    if not matching.size or not rate.sum():
        return why
    variance = planned_variance(rate, np.full(len(rate), 1 / max(matching.mean(), 1)))
    needed = pages_needed(variance, SHOWN_LIFT * rate.sum(), confidence=confidence)
    return f"{why}; a change of {SHOWN_LIFT:.0%} takes about {_round_up(needed):,} test pages to see"


def judge(comparisons: Sequence[Comparison], page_model: PageCheck | None) -> Verdict:
    """The verdict on all comparisons; none is believed where `page_model` says that the estimates cannot be trusted."""
    return Verdict.of("quality", [*(_check(each) for each in comparisons), _evidence(page_model)])


def _evidence(page_model: PageCheck | None) -> Check:
    if page_model is None:
        why = "the log shows one slot a page: nothing is known of how modules act on each other"
        return Check("evidence", True, None, None, why)
    score = page_model.score
    if page_model.problems:
        why = f"the estimate cannot be trusted: {'; '.join(page_model.problems)}"
        return Check("evidence", False, score, MISSED, why)
    why = f"clicks follow what stands above no further than the reward model knows (score {score:+.1f}, limit {MISSED})"
    if page_model.production is not None:
        own = page_model.production
        why += f"; production's {own.logged:.3f} clicks a page are estimated as {own.estimated:.3f}"
    return Check("evidence", True, score, MISSED, why)


def _check(each: Comparison) -> Check:
    if each.change is None:
        return Check(each.name, not each.counts_against, None, each.limit, f"{each.name}: {each.why_not}")
    change = each.change
    shown = f"{each.name} {change.value:+.1%} ({change.low:+.1%} to {change.high:+.1%})"
    if each.limit is None:
        return Check(each.name, True, change.low, None, f"{shown}; no limit set, not judged")
    bar = f"the lower bound must be above {each.limit:+.1%} (one-sided level {each.level:.1%})"
    if each.lowered is not None:
        bar += f"; {each.lowered}"
    if change.low > each.limit:
        return Check(each.name, True, change.low, each.limit, f"{shown}; {bar}")
    if change.value <= each.limit:
        return Check(each.name, False, change.low, each.limit, f"{shown}; {bar}")
    needed = (
        f"; about {_round_up(each.pages_needed):,} test pages would decide it, there are {each.pages:,}"
        if each.pages_needed
        else ""
    )
    return Check(each.name, False, change.low, each.limit, f"not enough evidence: {shown}; {bar}{needed}")


def _round_up(pages: int) -> int:
    """Two leading digits are as much as a power calculation knows."""
    unit = 10 ** max(0, int(math.log10(max(pages, 1))) - 1)
    return -(-pages // unit) * unit
