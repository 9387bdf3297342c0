"""Run the estimators on every log of a shop and hold what they say against the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

from pageopt.errors import EvaluationError
from pageopt.evaluation import report
from pageopt.evaluation.compare import LoggedPages, fit_reward_model
from pageopt.evaluation.estimate import Estimate, UserBootstrap
from pageopt.evaluation.estimators import ESTIMATORS
from pageopt.evaluation.page_check import PageCheck
from pageopt.evaluation.policy_value import METRICS, PolicyValue
from pageopt.simulator.page_effects import LAWS, Law
from pageopt.studies.coverage.judged_shop import ALIKE, LEARNED, STATIC, JudgedShop, Truth
from pageopt.studies.coverage.settings import Settings
from pageopt.studies.pool import spread

DIFFERENCE = f"{LEARNED} − {STATIC}"
CASES = (STATIC, ALIKE, LEARNED, DIFFERENCE)
"""What is judged under every law: three policies, and the difference of two."""
_LOG_SEEDS, _TRUTH_SEEDS = 10_000, 1_000_000  # far apart, so that no log shares its people with another or the truth

Estimates = dict[str, dict[str, Estimate]]
"""Of one log and case, by metric and estimator."""


@dataclass(frozen=True)
class Judged:
    """What the estimators say of one case on one log, and its exact "ctr" and "ptr" on the visits of that log."""

    estimates: Estimates
    values: Mapping[str, float]


@dataclass(frozen=True)
class Summary:
    """One estimator over all logs.

    Attributes:
        bias: mean of an estimate − the exact value on the visits of its log, and its standard error. What visits came
            has no part in it; an estimator that is unbiased given the visits is unbiased of the truth.
        relative_bias: the bias as a share of the truth; of a difference, of the static page's.
        rmse: root of the mean squared error against the truth.
        coverage: share of logs whose interval holds the truth, with its Wilson interval at 95 %.
        width: mean width of the intervals.
        logs: logs with an estimate.
    """

    bias: float
    bias_standard_error: float
    relative_bias: float
    rmse: float
    coverage: Estimate
    width: float
    logs: int

    @classmethod
    def of(cls, estimates: Sequence[Estimate], exact: Sequence[float], truth: Truth, unit: float) -> "Summary":
        """Sum up `estimates`, one a log, with the `exact` values on their visits; `unit` is what shares are of."""
        values = np.array([estimate.value for estimate in estimates])
        errors = values - np.array(exact)
        held = sum(estimate.low <= truth.value <= estimate.high for estimate in estimates)
        between = binomtest(held, len(values)).proportion_ci(0.95, method="wilson")
        return cls(
            bias=float(errors.mean()),
            bias_standard_error=float(errors.std(ddof=1) / np.sqrt(len(values))),
            relative_bias=float(errors.mean() / unit),
            rmse=float(np.sqrt(np.mean((values - truth.value) ** 2))),
            coverage=Estimate(held / len(values), float(between.low), float(between.high)),
            width=float(np.mean([estimate.high - estimate.low for estimate in estimates])),
            logs=len(values),
        )


@dataclass(frozen=True)
class Outcome:
    """What the study found in one case, with one entry a log; `unit` is by metric what shares are of."""

    truth: Mapping[str, Truth]
    unit: Mapping[str, float]
    logs: Sequence[Judged]

    def estimators(self, metric: str) -> list[str]:
        """The estimators of a metric."""
        return list(dict.fromkeys(name for log in self.logs for name in log.estimates[metric]))

    def of(self, metric: str, estimator: str) -> list[Judged]:
        """The logs on which an estimator is defined: self-normalised ones need a match in every slot."""
        return [log for log in self.logs if estimator in log.estimates[metric]]

    def estimates(self, metric: str, estimator: str) -> list[Estimate]:
        """One estimate a log."""
        return [log.estimates[metric][estimator] for log in self.of(metric, estimator)]

    def summary(self, metric: str, estimator: str) -> Summary:
        """The estimator's errors and coverage."""
        exact = [log.values[metric] for log in self.of(metric, estimator)]
        return Summary.of(self.estimates(metric, estimator), exact, self.truth[metric], self.unit[metric])


@dataclass(frozen=True)
class OfLaw:
    """What the study found under one law: by case, and of each log whether its estimates were to be trusted."""

    cases: Mapping[str, Outcome]
    checks: Sequence[PageCheck]


def repeat(settings: Settings, processes: int, *, progress: bool = True) -> dict[Law, OfLaw]:
    """The study, by law; the same for any number of processes."""
    logs = range(settings.logs)
    start = partial(_start, settings)
    truths = [partial(_truths, law, settings.truth_pages) for law in LAWS]
    judged = [partial(_judge, law, _LOG_SEEDS + number) for law in LAWS for number in logs]
    # The truths in the same pool: its processes have made the shops once.
    done: list[Any] = spread([*truths, *judged], processes, start, "Logs and true values", progress=progress)
    truth, left = dict(zip(LAWS, done, strict=False)), iter(done[len(LAWS) :])
    return {law: _of_law(truth[law], [next(left) for _ in logs]) for law in LAWS}


def _of_law(truths: Mapping[str, dict[str, Truth]], logs: Sequence[tuple[dict[str, Judged], PageCheck]]) -> OfLaw:
    static = {metric: truth.value for metric, truth in truths[STATIC].items()}
    cases = {}
    for name, truth in truths.items():
        own = static if name == DIFFERENCE else {metric: of.value for metric, of in truth.items()}
        cases[name] = Outcome(truth, own, [log[name] for log, _ in logs])
    return OfLaw(cases, [check for _, check in logs])


# What a process of the pool works with: the shops follow from the settings, and are cheaper made than sent.
_shops: dict[Law, JudgedShop] = {}
_settings: list[Settings] = []


def _start(settings: Settings) -> None:
    threadpool_limits(1)
    _settings[:] = [settings]
    _shops.update({law: JudgedShop.build(settings, law) for law in LAWS})


def _truths(law: Law, pages: int) -> dict[str, dict[str, Truth]]:
    """True values by case and metric, all of the same visits."""
    truths = {name: _shops[law].truth(name, _TRUTH_SEEDS, pages) for name in (STATIC, ALIKE, LEARNED)}
    first, second = truths[LEARNED], truths[STATIC]
    truths[DIFFERENCE] = {
        metric: Truth(
            first[metric].value - second[metric].value,
            float(np.hypot(first[metric].standard_error, second[metric].standard_error)),
        )
        for metric in METRICS
    }
    return truths


def _judge(law: Law, seed: int) -> tuple[dict[str, Judged], PageCheck]:
    """Estimates on one log, by case, and whether they are to be trusted: what stage evaluate would say."""
    shop, settings = _shops[law], _settings[0]
    log = shop.log(seed, settings.pages, round(settings.pages * settings.production))
    params = settings.evaluate
    model = fit_reward_model(log.pages, shop.encoder, ("random",), ("random",), params, progress=False)
    logged = LoggedPages(log.pages, model, params)
    bootstrap = logged.bootstrap()
    values = {name: logged.value(log.targets[name][logged.rows]) for name in (STATIC, ALIKE, LEARNED)}
    judged = {}
    for name, value in values.items():
        figures = report.estimates(value, bootstrap)
        estimates: Estimates = {
            metric: {each: estimate for each in ESTIMATORS if (estimate := figures[f"{metric}_{each}"].estimate)}
            for metric in METRICS
        }
        judged[name] = Judged(estimates, log.values[name])
    judged[DIFFERENCE] = Judged(
        _difference(values[LEARNED], values[STATIC], bootstrap),
        {metric: log.values[LEARNED][metric] - log.values[STATIC][metric] for metric in METRICS},
    )
    check = logged.check_page_model(log.pages)
    if check is None:
        raise EvaluationError("The study's logs show whole pages, and the page-aware model was not fitted on them.")
    return judged, check


def _difference(first: PolicyValue, second: PolicyValue, bootstrap: UserBootstrap) -> Estimates:
    change = report.change(first, second, bootstrap)
    gains: Estimates = {}
    for metric in METRICS:
        both = {name: change.figure(f"{metric}_{name}") for name in ("dr", "page_dr")}
        gains[metric] = {name: gain.estimate for name, gain in both.items() if gain and gain.estimate}
    return gains
