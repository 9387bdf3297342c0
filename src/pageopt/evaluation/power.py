"""How many exploration pages a verdict needs: a power calculation by the normal approximation (docs/power.md).

A comparison of two policies is a mean of paired per-page differences. With variance v a page, n pages see a difference
d (two-sided test at `confidence`, with chance `power`) if  d ≥ (z_{(1+confidence)/2} + z_power) · sqrt(v/n).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Floats, UserBootstrap, check_numbers
from pageopt.evaluation.offpolicy import Difference

POWER = 0.8
LIFTS = (0.05, 0.1, 0.2)
SHOWN_LIFT = 0.1
# With fewer rewards behind a mean neither the normal approximation nor a bootstrap knows its spread: none at all would
# give an interval of no width.
ENOUGH_EVENTS = 10


@dataclass(frozen=True)
class Power:
    """What a comparison could have seen.

    Attributes:
        pages: exploration pages behind it.
        events: rewards in slots where the log shows what the policy wants, of the policy that has fewer.
        variance: of the paired difference, per page, over users.
        baseline: value of the policy compared with (the second).
        detectable: smallest difference seen with a chance of `POWER`.
        detectable_relative: the same as a share of the baseline, None where that is not positive.
        pages_needed: by relative lift, how many pages would see it; empty where the baseline is not positive.
        verdict: the comparison in words, with what is missing where the interval leaves it open.
    """

    pages: int
    events: int
    variance: float
    baseline: float
    detectable: float
    detectable_relative: float | None
    pages_needed: dict[str, int]
    verdict: str


def _quantiles(confidence: float, power: float) -> float:
    if not (0 < confidence < 1 and 0 < power < 1):
        raise EvaluationError(f"confidence and power must lie in (0, 1), not {confidence} and {power}.")
    return float(norm.ppf((1 + confidence) / 2) + norm.ppf(power))


def detectable_difference(variance: float, pages: int, *, confidence: float = 0.95, power: float = POWER) -> float:
    """The smallest true difference that `pages` pages with `variance` a page see with chance `power`."""
    if variance < 0 or pages < 1:
        raise EvaluationError(f"variance must not be negative and pages at least 1, not {variance} and {pages}.")
    return _quantiles(confidence, power) * float(np.sqrt(variance / pages))


def pages_needed(variance: float, difference: float, *, confidence: float = 0.95, power: float = POWER) -> int:
    """Pages that see a true `difference` with chance `power`."""
    if variance < 0 or difference == 0:
        raise EvaluationError(
            f"variance must not be negative and difference not 0 (no log sees that); they are {variance}, {difference}."
        )
    return max(1, int(np.ceil(variance * (_quantiles(confidence, power) / difference) ** 2)))


def planned_variance(rate: ArrayLike, propensity: ArrayLike) -> float:
    """Variance a page of the difference of two policies that never agree, before any log is there: 2 Σ_s r_s/p_s.

    `rate [slots]` is the chance of a reward in each slot, `propensity [slots]` the mean chance that the logging policy
    shows what a policy wants there, about 1/candidates for a random one. Where the policies agree on a share m of the
    slots, it is (1 − m) times that.
    """
    rates = check_numbers("rate", rate)
    chances = check_numbers("propensity", propensity, shape=rates.shape)
    if (chances <= 0).any() or (chances > 1).any() or (rates < 0).any():
        raise EvaluationError(f"rate must not be negative and propensity lie in (0, 1], not {rates} and {chances}.")
    return float(2 * (rates / chances).sum())


def variance_by_unit(contribution: Floats, bootstrap: UserBootstrap) -> float:
    """n · Var(mean) of `contribution [pages]`: its variance a page, allowing for pages of one user being alike."""
    centred = bootstrap.unit_sums((contribution - contribution.mean())[:, None])[:, 0]
    return float((centred**2).sum() / len(contribution))


def power_of(
    first: Floats, second: Floats, difference: Difference, bootstrap: UserBootstrap, *, metric: str, events: int
) -> Power:
    """What the comparison of two policies' contributions `[pages]` could see; `difference` is its outcome.

    `events` counts the rewards behind the policy that has fewer (`compare.Terms.matched`).
    """
    pages = len(first)
    variance = variance_by_unit(first - second, bootstrap)
    baseline = float(second.mean())
    confidence = bootstrap.confidence
    detectable = detectable_difference(variance, pages, confidence=confidence)
    needed = {}
    if baseline > 0:
        needed = {f"{lift:.0%}": pages_needed(variance, lift * baseline, confidence=confidence) for lift in LIFTS}
    power = Power(
        pages=pages,
        events=events,
        variance=variance,
        baseline=baseline,
        detectable=detectable,
        detectable_relative=detectable / baseline if baseline > 0 else None,
        pages_needed=needed,
        verdict="",
    )
    return Power(**{**vars(power), "verdict": _verdict(power, difference, confidence, metric)})


def _verdict(power: Power, difference: Difference, confidence: float, metric: str) -> str:
    absolute = difference.absolute
    interval = f"{metric} differs by {absolute.value:+.4g} ({absolute.low:+.4g} to {absolute.high:+.4g})"
    if power.events < ENOUGH_EVENTS:
        return (
            f"not enough evidence: {interval}, but only {power.events} rewards on {power.pages:,} pages fell where the "
            f"log shows what one of the policies wants; an interval can be trusted from {ENOUGH_EVENTS} on"
        )
    if absolute.low > 0:
        return f"better: {interval}"
    if absolute.high < 0:
        return f"worse: {interval}"
    if power.detectable_relative is None:
        return f"not enough evidence: {interval}; the {metric} compared with is not above zero on {power.pages:,} pages"
    lift = f"{SHOWN_LIFT:.0%}"
    return (
        f"not enough evidence: {interval}. {power.pages:,} exploration pages see a change of "
        f"{power.detectable_relative:.0%} or more ({POWER:.0%} power at {confidence:.0%} confidence); a change of "
        f"{lift} needs {power.pages_needed[lift]:,}"
    )
