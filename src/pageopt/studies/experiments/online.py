"""Simulated A/B tests: users are hashed into two arms, and click and buy by the true chances of what their arm shows.

Each seed is a shop of its own, so its users are different people from those of the others: the test of one comparison
takes them all together. Visits without a user cannot stay in one arm and are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pageopt.errors import EvaluationError
from pageopt.evaluation.abtest import Look, assign, compare, sample_ratio, sequential
from pageopt.evaluation.policy_value import Metric
from pageopt.studies.experiments.findings import AbLift, AbLook, AbMetric, AbTest
from pageopt.studies.experiments.values import PageValues

SHARES = (0.5, 0.5)


@dataclass(frozen=True)
class Arms:
    """What two policies earn on the same visits of one shop: `user_id` (None: anonymous) and `ts` are `[pages]`."""

    user_id: NDArray
    ts: NDArray[np.int64]
    control: PageValues
    treatment: PageValues


def ab_test(shops: Mapping[int, Arms], name: str, *, looks: int, confidence: float) -> AbTest:
    """The test called `name` over all shops, by seed."""
    users, arms, looked, outcomes = [], [], [], []
    for seed, both in shops.items():
        known = np.array([user is not None and user == user for user in both.user_id])
        ids = np.array([f"{seed}/{user}" for user in both.user_id[known]], dtype=object)
        arm = assign(ids, name, SHARES)
        users.append(ids)
        arms.append(arm)
        looked.append(_looks(both.ts[known], looks))
        outcomes.append(_outcomes(both, known, arm, seed, name))
    user, arm, look = np.concatenate(users), np.concatenate(arms), np.concatenate(looked)

    def tested(metric: Metric) -> AbMetric:
        count = np.concatenate([outcome[metric] for outcome in outcomes])
        try:
            lift = compare(count, user, arm, confidence=confidence)
            seen = sequential(count, user, arm, look, alpha=1 - confidence)
        except EvaluationError as error:  # too few purchases for any test
            return AbMetric(None, why=str(error))
        return AbMetric(AbLift.of(lift), [_look(each) for each in seen], seen[-1].crossed)

    return AbTest(len(np.unique(user)), len(user), sample_ratio(user, arm, SHARES), tested("ctr"), tested("ptr"))


def _looks(ts: NDArray[np.int64], looks: int) -> NDArray[np.int64]:
    """The look before which each page was shown: an equal share of the pages, in the order of time, between any two."""
    number = np.empty(len(ts), dtype=np.int64)
    number[np.argsort(ts, kind="stable")] = np.arange(len(ts)) * looks // len(ts)
    return number


def _outcomes(
    both: Arms, known: NDArray[np.bool_], arm: NDArray[np.int64], seed: int, name: str
) -> dict[Metric, NDArray[np.float64]]:
    """Modules clicked and modules bought from on each page: who buys has clicked."""
    rng = np.random.default_rng([seed, *name.encode()])
    chance = rng.random((len(arm), both.control.click.shape[1]))
    shown = (arm == 1)[:, None]
    click = np.where(shown, both.treatment.click[known], both.control.click[known])
    purchase = np.where(shown, both.treatment.purchase[known], both.control.purchase[known])
    return {
        "ctr": (chance < click).sum(axis=1).astype(np.float64),
        "ptr": (chance < purchase).sum(axis=1).astype(np.float64),
    }


def _look(look: Look) -> AbLook:
    value = AbLift.of(look.lift).value
    return AbLook(look.information, look.boundary, look.lift.statistic, value, look.crossed)
