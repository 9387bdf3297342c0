"""A/B tests by user: who sees which arm, what the arms differ by, and how often one may look.

Users, not pages, are assigned and tested: the pages of a user are not independent. A metric is a ratio, its sum over
pages by the number of pages, and both vary by user. Its variance comes from the linearised metric of each user,
m_u − R·n_u (delta method; Deng, Knoblich and Lu 2018, "Applying the Delta Method in Metric Analytics"), the test of the
difference is Welch's, and the interval of the relative lift is Fieller's (1954): it excludes 0 exactly where the test
rejects.

Looking before the end is paid for by alpha spending (pageopt.evaluation.spending).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit
from scipy.stats import chisquare

from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Estimate, Floats, check_numbers
from pageopt.evaluation.spending import Spending, boundaries

CONTROL, TREATMENT = 0, 1
SAMPLE_RATIO_ALPHA = 0.001  # the usual limit: a mismatch is a defect of the test, so it must not be cried often


@dataclass(frozen=True)
class Lift:
    """What the treatment changes.

    Attributes:
        value: relative lift of the metric, treatment / control − 1; nan where control is 0.
        low: lower end of its interval; -inf where control is not clearly above zero.
        high: upper end of its interval; inf where control is not clearly above zero.
        p_value: of "no difference", two-sided, for a single look.
        statistic: the p-value as a standard normal quantile, with the sign of the difference: what a boundary is for.
        difference: treatment − control, with its interval.
        control: the metric of the control arm, per page.
        treatment: the metric of the treatment arm, per page.
        users_by_arm: users of control and treatment.
        pages_by_arm: pages of control and treatment.
    """

    value: float
    low: float
    high: float
    p_value: float
    statistic: float
    difference: Estimate
    control: float
    treatment: float
    users_by_arm: tuple[int, int]
    pages_by_arm: tuple[int, int]


@dataclass(frozen=True)
class Look:
    """One look of a sequential test.

    Attributes:
        information: share of the planned pages that were there.
        boundary: what |statistic| has to exceed.
        lift: the comparison of all pages so far; its intervals allow for the looks (they use the boundary).
        crossed: whether the test may stop here.
    """

    information: float
    boundary: float
    lift: Lift
    crossed: bool


def assign(user_id: ArrayLike, salt: str, shares: Sequence[float]) -> NDArray[np.int64]:
    """The arm of each entry of `user_id [n]`, `[n]`: always the same for a user and a salt, on every machine.

    Another salt gives an independent assignment, so every test needs its own. An id is hashed as its text.

    Args:
        user_id: `[n]` ids; no nulls.
        salt: name of the test.
        shares: share of the users for each arm, summing to 1.

    Raises:
        EvaluationError: a user is null, or shares that are negative or do not sum to 1.
    """
    limits = np.cumsum(_shares(shares))
    codes, users = _users(user_id)
    point = np.array([_point(salt, str(user)) for user in users])
    arms = np.minimum(np.searchsorted(limits, point, side="right"), len(limits) - 1)
    return arms.astype(np.int64)[codes]


def compare(
    metric: ArrayLike,
    user_id: ArrayLike,
    arm: ArrayLike,
    *,
    control: int = CONTROL,
    treatment: int = TREATMENT,
    confidence: float = 0.95,
    boundary: float | None = None,
) -> Lift:
    """The treatment against the control, by user.

    Args:
        metric: `[pages]` such as clicks or purchases of each page.
        user_id: `[pages]`, no nulls.
        arm: `[pages]` arm of the page's user; pages of further arms are left out.
        control: the arm compared with.
        treatment: the arm compared.
        confidence: of the intervals.
        boundary: normal quantile for the intervals in place of that of `confidence`, at a look of a sequential test.

    Raises:
        EvaluationError: shapes that differ, metrics that are not finite, a null user or one in both arms, an arm of
            fewer than two users, or users without any spread.
    """
    values, codes, arms = _pages(metric, user_id, arm)
    if not 0 < confidence < 1:
        raise EvaluationError(f"confidence must lie in (0, 1), not {confidence}.")
    first, second = (_arm(values, codes, arms, number) for number in (control, treatment))
    if not first.variance + second.variance > 0:
        raise EvaluationError(
            f"No user of arms {control} and {treatment} differs from the others: without spread there is no test."
        )
    return _lift(first, second, (1 - confidence) / 2 if boundary is None else float(ndtr(-boundary)))


def sample_ratio(user_id: ArrayLike, arm: ArrayLike, shares: Sequence[float]) -> float:
    """P-value of "the users came into the arms by these shares" (chi-square).

    Below `SAMPLE_RATIO_ALPHA` the assignment or the log is broken, and no lift of this test can be trusted.

    Args:
        user_id: `[pages]`, no nulls.
        arm: `[pages]` arm of the page's user.
        shares: planned share of the users of each arm, all above 0.
    """
    planned = _shares(shares)
    if (planned == 0).any():
        raise EvaluationError(f"An arm with no share has no users to expect; leave it out of shares {list(shares)}.")
    codes, users = _users(user_id)
    arms = _arms(arm, len(codes))
    if arms.max() >= len(planned):
        raise EvaluationError(f"arm names arm {arms.max()}, but there are {len(planned)} shares.")
    count = np.bincount(_arm_of_user(codes, arms, len(users)), minlength=len(planned))
    return float(chisquare(count, planned * len(users)).pvalue)


def sequential(
    metric: ArrayLike,
    user_id: ArrayLike,
    arm: ArrayLike,
    look: ArrayLike,
    *,
    planned_pages: int | None = None,
    alpha: float = 0.05,
    spending: Spending = "obrien-fleming",
) -> list[Look]:
    """The comparison at every look, each on all pages so far, up to the first that crosses its boundary.

    Args:
        metric: `[pages]` as in `compare`.
        user_id: `[pages]`, no nulls.
        arm: `[pages]` of CONTROL or TREATMENT.
        look: `[pages]` number of the look, from 0, before which the page was shown.
        planned_pages: pages at the last look; by default those given, which says that the test has ended.
        alpha: of the whole test, two-sided.
        spending: as in `boundaries`.

    Raises:
        EvaluationError: as in `compare` and `boundaries`; a look without pages; more pages than planned.
    """
    values, codes, arms = _pages(metric, user_id, arm)
    number = np.asarray(look)
    if number.shape != values.shape or number.dtype.kind not in "iu" or number.min() < 0:
        raise EvaluationError(
            f"look must hold whole numbers from 0, {values.shape}, not {number.dtype} {number.shape}."
        )
    pages = np.cumsum(np.bincount(number))
    planned = int(pages[-1]) if planned_pages is None else planned_pages
    if pages[-1] > planned:
        raise EvaluationError(f"{pages[-1]} pages are more than the {planned} planned; plan for all of the test.")
    information = pages / planned
    done: list[Look] = []
    for at, boundary in enumerate(boundaries(information.tolist(), alpha, spending)):
        seen = number <= at
        lift = compare(values[seen], codes[seen], arms[seen], boundary=boundary)
        done.append(Look(float(information[at]), float(boundary), lift, bool(abs(lift.statistic) > boundary)))
        if done[-1].crossed:
            break
    return done


@dataclass(frozen=True)
class _Arm:
    value: float
    variance: float  # of the value
    users: int
    pages: int


def _arm(values: Floats, codes: NDArray[np.int64], arms: NDArray[np.int64], number: int) -> _Arm:
    rows = arms == number
    _, unit = np.unique(codes[rows], return_inverse=True)
    users = int(unit.max()) + 1 if unit.size else 0
    if users < 2:
        raise EvaluationError(f"Arm {number} has {users} users; a test needs two at least in each arm.")
    total, pages = np.bincount(unit, weights=values[rows]), np.bincount(unit)
    value = total.sum() / pages.sum()
    linear = (total - value * pages) / pages.mean()
    return _Arm(float(value), float(linear.var(ddof=1) / users), users, int(pages.sum()))


def _lift(control: _Arm, treatment: _Arm, tail: float) -> Lift:
    """Welch's test of the difference; intervals leave `tail` out at each end."""
    difference, variance = treatment.value - control.value, control.variance + treatment.variance
    freedom = variance**2 / sum(arm.variance**2 / (arm.users - 1) for arm in (control, treatment))
    error = float(np.sqrt(variance))
    p_value = float(2 * stdtr(freedom, -abs(difference) / error))
    width = float(-stdtrit(freedom, tail))
    low, high = _fieller(control, treatment, width)
    return Lift(
        value=treatment.value / control.value - 1 if control.value else float("nan"),
        low=low,
        high=high,
        p_value=p_value,
        statistic=float(-np.sign(difference) * ndtri(p_value / 2)),
        difference=Estimate(difference, difference - width * error, difference + width * error),
        control=control.value,
        treatment=treatment.value,
        users_by_arm=(control.users, treatment.users),
        pages_by_arm=(control.pages, treatment.pages),
    )


def _fieller(control: _Arm, treatment: _Arm, width: float) -> tuple[float, float]:
    """All relative lifts x with |treatment − (1 + x)·control| ≤ width · its standard error, where they are an interval.

    The arms are independent, so the set is that of a quadratic in the ratio 1 + x.
    """
    square = control.value**2 - width**2 * control.variance
    if square <= 0 or control.value <= 0:
        return -np.inf, np.inf
    middle = control.value * treatment.value
    root = np.sqrt(middle**2 - square * (treatment.value**2 - width**2 * treatment.variance))
    return float((middle - root) / square - 1), float((middle + root) / square - 1)


def _point(salt: str, user: str) -> float:
    """A uniform number in [0, 1) that only salt and user decide."""
    # The salt's own length keeps ("a", "bc") and ("ab", "c") apart.
    digest = blake2b(f"{len(salt)}:{salt}{user}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _shares(shares: Sequence[float]) -> Floats:
    planned = check_numbers("shares", shares)
    if planned.ndim != 1 or (planned < 0).any() or abs(planned.sum() - 1) > 1e-9:
        raise EvaluationError(f"shares must not be negative and must sum to 1, not {list(shares)}.")
    return planned


def _users(user_id: ArrayLike) -> tuple[NDArray[np.int64], NDArray]:
    """Codes `[n]` and the users they stand for. Raises where a user is null."""
    codes, users = pd.factorize(np.asarray(user_id))
    if codes.ndim != 1 or not len(codes):
        raise EvaluationError("user_id must be one array of at least one id.")
    if (codes < 0).any():
        raise EvaluationError(
            f"user_id[{int(np.argmax(codes < 0))}] is null: a visit that names no user cannot stay in one arm. Leave "
            "such pages out of the test, or name them by session."
        )
    return codes.astype(np.int64), users


def _arms(arm: ArrayLike, pages: int) -> NDArray[np.int64]:
    arms = np.asarray(arm)
    if arms.shape != (pages,) or arms.dtype.kind not in "iu" or arms.min() < 0:
        raise EvaluationError(f"arm must hold whole numbers from 0, ({pages},), not {arms.dtype} {arms.shape}.")
    return arms.astype(np.int64)


def _pages(
    metric: ArrayLike, user_id: ArrayLike, arm: ArrayLike
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    values = check_numbers("metric", metric)
    if values.ndim != 1:
        raise EvaluationError(f"metric must have shape [pages], not {values.shape}; sum it over slots.")
    codes, users = _users(user_id)
    if len(codes) != len(values):
        raise EvaluationError(f"user_id has {len(codes)} entries, but metric {len(values)} pages.")
    arms = _arms(arm, len(values))
    _arm_of_user(codes, arms, len(users))
    return values, codes, arms


def _arm_of_user(codes: NDArray[np.int64], arms: NDArray[np.int64], users: int) -> NDArray[np.int64]:
    """`[users]`. Raises EvaluationError where a user is in two arms."""
    of_user = np.empty(users, dtype=np.int64)
    of_user[codes] = arms
    moved = of_user[codes] != arms
    if moved.any():
        count = len(np.unique(codes[moved]))
        raise EvaluationError(
            f"{count} users were in more than one arm, the one of page {int(np.argmax(moved))} among them. Assign by "
            "user, with one salt for the whole test."
        )
    return of_user
