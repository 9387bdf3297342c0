"""One policy on the pages of a log, by the terms that every estimator is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pageopt.evaluation.estimate import Floats
from pageopt.evaluation.offpolicy import dr_contributions, ips_contributions
from pageopt.evaluation.weights import Weights

Metric = Literal["ctr", "ptr"]
Reward = Literal["click", "purchase"]
METRICS: dict[Metric, Reward] = {"ctr": "click", "ptr": "purchase"}
"""What is estimated, with the reward it is the mean of: modules clicked, or bought from, per page shown."""


@dataclass(frozen=True)
class Terms:
    """The parts of every estimator for one reward; `[pages, slots]`, 0 in slots that do not count."""

    reward: Floats
    weight: Floats
    q_logged: Floats
    q_target: Floats

    @cached_property
    def matched(self) -> int:
        """Rewards in slots where the log shows what the policy wants: the evidence behind an estimate.

        With fewer than `power.ENOUGH_EVENTS` an interval cannot be trusted: a resample has no other rewards to draw.
        """
        return int(((self.reward > 0) & (self.weight > 0)).sum())

    @cached_property
    def dm(self) -> Floats:
        """What each page adds to the DM mean, `[pages]`."""
        return self.q_target.sum(axis=1)

    @cached_property
    def ips(self) -> Floats:
        """What each page adds to the IPS mean, `[pages]`."""
        return ips_contributions(self.reward, self.weight)

    @cached_property
    def dr(self) -> Floats:
        """What each page adds to the DR mean, `[pages]`."""
        return dr_contributions(self.reward, self.weight, self.q_logged, self.q_target)


@dataclass(frozen=True)
class PolicyValue:
    """One policy on the pages of a log that the estimators can use.

    Attributes:
        rows: `[pages]` index into the pages given.
        user_id: `[pages]`, the unit of the bootstrap; null pages stand alone.
        weights: importance weights of the policy.
        click, purchase: terms of CTR and PTR for the estimators that look at slots alone.
        single: the log shows one slot a page, so a page's value is that slot's.
        cascade: w_{1:s} `[pages, slots]` of Cascade-DR, cut at max_cascade_weight; None where it is not offered.
        page: contributions `[pages]` by the page-aware q̂; None where log or policy do not say what stands above.
    """

    rows: NDArray[np.int64]
    user_id: NDArray
    weights: Weights
    click: Terms
    purchase: Terms
    single: bool
    cascade: Floats | None = None
    page: Mapping[Reward, Floats] | None = None

    def terms(self, metric: Metric) -> Terms:
        """The terms of a metric."""
        return self.click if metric == "ctr" else self.purchase

    @property
    def ctr(self) -> Floats:
        """What each page adds to the CTR by which policies are judged, `[pages]`: modules clicked per page shown."""
        return self.judged("ctr")

    @property
    def ptr(self) -> Floats:
        """The same of the PTR: modules bought from per page shown."""
        return self.judged("ptr")

    def judged(self, metric: Metric) -> Floats:
        """Contributions `[pages]` by page-aware DR where the log offers it, else by slot-wise DR."""
        return self.terms(metric).dr if self.page is None else self.page[METRICS[metric]]


def comparable(first: PolicyValue, second: PolicyValue, metric: Metric) -> tuple[Floats, Floats]:
    """Contributions `[pages]` of both by one estimator: page-aware DR where both have it, else slot-wise DR."""
    if first.page is None or second.page is None:
        return first.terms(metric).dr, second.terms(metric).dr
    return first.judged(metric), second.judged(metric)
