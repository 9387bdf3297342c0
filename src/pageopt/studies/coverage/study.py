"""Run the estimators on every log of a shop and hold what they say against the truth."""

import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

from pageopt.evaluation import report
from pageopt.evaluation.compare import LoggedPages, fit_reward_model
from pageopt.evaluation.estimate import Estimate
from pageopt.evaluation.estimators import ESTIMATORS
from pageopt.evaluation.policy_value import METRICS
from pageopt.simulator.page_effects import Law
from pageopt.studies.coverage.judged_shop import MOST_CLICKED, ONE_FAMILY, JudgedShop, Log, Truth
from pageopt.studies.coverage.settings import Settings

CASES: dict[str, tuple[Law, str]] = {
    "page effects off": ("none", MOST_CLICKED),
    "page effects on": ("content", MOST_CLICKED),
    "page effects on, one family": ("content", ONE_FAMILY),
}
"""What is judged: the law by which modules act on each other, and which policy."""
PAGE_AWARE = ", page-aware q̂"
_LOG_SEEDS, _TRUTH_SEEDS = 10_000, 1_000_000  # far apart, so that no log shares its people with another or the truth

Estimates = dict[str, dict[str, Estimate]]
"""Of one log and policy, by metric and estimator."""


@dataclass(frozen=True)
class Judged:
    """What the estimators say of one policy on one log, and its exact "ctr" and "ptr" on the visits of that log."""

    estimates: Estimates
    values: Mapping[str, float]


@dataclass(frozen=True)
class Summary:
    """One estimator over all logs.

    Attributes:
        bias: mean of an estimate − the exact value on the visits of its log, and its standard error. What visits came
            has no part in it; an estimator that is unbiased given the visits is unbiased of the truth.
        relative_bias: the bias as a share of the truth.
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
    def of(cls, estimates: Sequence[Estimate], exact: Sequence[float], truth: Truth) -> "Summary":
        """Sum up `estimates`, one a log, with the `exact` values on their visits."""
        values = np.array([estimate.value for estimate in estimates])
        errors = values - np.array(exact)
        held = sum(estimate.low <= truth.value <= estimate.high for estimate in estimates)
        between = binomtest(held, len(values)).proportion_ci(0.95, method="wilson")
        return cls(
            bias=float(errors.mean()),
            bias_standard_error=float(errors.std(ddof=1) / np.sqrt(len(values))),
            relative_bias=float(errors.mean() / truth.value),
            rmse=float(np.sqrt(np.mean((values - truth.value) ** 2))),
            coverage=Estimate(held / len(values), float(between.low), float(between.high)),
            width=float(np.mean([estimate.high - estimate.low for estimate in estimates])),
            logs=len(values),
        )


@dataclass(frozen=True)
class Outcome:
    """What the study found in one case, with one entry a log."""

    truth: Mapping[str, Truth]
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
        return Summary.of(self.estimates(metric, estimator), exact, self.truth[metric])


def repeat(settings: Settings, processes: int, *, progress: bool = True) -> dict[str, Outcome]:
    """The study, by case; the same for any number of processes."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    laws: tuple[Law, ...] = ("none", "content")
    jobs = [(law, number) for law in laws for number in range(settings.logs)]
    by_log: dict[tuple[str, int], Judged] = {}
    # Spawned, not forked: the parent may hold threads of other libraries.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start, (settings,))
    with Progress(*columns, disable=not progress) as bar, pool:
        task = bar.add_task("Logs", total=len(jobs))
        truths = {name: pool.submit(_truth, *case, settings.truth_pages) for name, case in CASES.items()}
        running = {pool.submit(_judge, law, _LOG_SEEDS + number): number for law, number in jobs}
        try:
            for future in as_completed(running):
                by_log |= {(name, running[future]): judged for name, judged in future.result().items()}
                bar.advance(task)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        truth = {name: future.result() for name, future in truths.items()}
    return {name: Outcome(truth[name], [by_log[name, number] for number in range(settings.logs)]) for name in CASES}


# What a process of the pool works with: the shops follow from the settings, and are cheaper made than sent.
_shops: dict[Law, JudgedShop] = {}
_settings: list[Settings] = []


def _start(settings: Settings) -> None:
    threadpool_limits(1)
    _settings[:] = [settings]
    _shops.update({law: JudgedShop.build(settings, law) for law in ("none", "content")})


def _truth(law: Law, target: str, pages: int) -> dict[str, Truth]:
    return _shops[law].truth(target, _TRUTH_SEEDS, pages)


def _judge(law: Law, seed: int) -> dict[str, Judged]:
    """Estimates on one log, by case."""
    shop, settings = _shops[law], _settings[0]
    log = shop.log(seed, settings.pages)
    cases = {name: target for name, (of, target) in CASES.items() if of == law}
    of_case = _estimates(shop, log, cases, settings, page_aware=False)
    if law != "none":
        # Where modules act on those below, q̂ can know it: DM and DR gain from it, and Cascade-DR is meant for it.
        aware = _estimates(shop, log, cases, settings, page_aware=True)
        for name, estimates in of_case.items():
            for metric in METRICS:
                for estimator in ("dm", "dr", "cascade_dr"):
                    estimates[metric][f"{estimator}{PAGE_AWARE}"] = aware[name][metric][estimator]
    return {name: Judged(estimates, log.values[cases[name]]) for name, estimates in of_case.items()}


def _estimates(
    shop: JudgedShop, log: Log, cases: Mapping[str, str], settings: Settings, *, page_aware: bool
) -> dict[str, Estimates]:
    """What stage evaluate would say of the policy of each case."""
    q = settings.evaluate.reward_model.model_copy(update={"page_aware": page_aware})
    params = settings.evaluate.model_copy(update={"reward_model": q})
    model = fit_reward_model(log.pages, shop.encoder, ("random",), ("random",), params, progress=False)
    logged = LoggedPages(log.pages, model, params)
    bootstrap = logged.bootstrap()
    of_case: dict[str, Estimates] = {}
    for name, target in cases.items():
        values = report.estimates(logged.value(log.targets[target]), bootstrap)
        of_case[name] = {
            metric: {each: estimate for each in ESTIMATORS if (estimate := values[f"{metric}_{each}"].estimate)}
            for metric in METRICS
        }
    return of_case
