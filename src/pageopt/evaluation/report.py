"""Policy values as reports/evaluation.json holds them."""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import UNSET, UnsetType

from pageopt.config import EvaluateParams
from pageopt.errors import EvaluationError
from pageopt.evaluation.cascade import cascade_support
from pageopt.evaluation.compare import LoggedPages
from pageopt.evaluation.estimate import UserBootstrap
from pageopt.evaluation.estimators import ESTIMATORS, Estimator
from pageopt.evaluation.figures import Change, Diagnostics, Earned, Evaluation, Figure, ModelFigures
from pageopt.evaluation.offpolicy import paired
from pageopt.evaluation.policy_value import METRICS, Metric, PolicyValue, Reward, comparable
from pageopt.evaluation.power import Power, power_of
from pageopt.evaluation.reward_check import RewardCheck
from pageopt.evaluation.weights import diagnose
from pageopt.features.pages import Pages


def estimates(value: PolicyValue, bootstrap: UserBootstrap) -> dict[str, Figure]:
    """CTR and PTR by every estimator that the log offers: "ctr_dm", "ctr_ips", … "ptr_page_dr"."""
    figures = {
        f"{metric}_{name}": _figure(estimator, value, metric, bootstrap)
        for metric in METRICS
        for name, estimator in ESTIMATORS.items()
    }
    return {name: figure for name, figure in figures.items() if figure is not UNSET}


def _figure(estimator: Estimator, value: PolicyValue, metric: Metric, bootstrap: UserBootstrap) -> Figure | UnsetType:
    try:
        estimate = estimator.estimate(value, value.terms(metric), bootstrap)
    except EvaluationError:
        return Figure.of(None)
    return UNSET if estimate is None else Figure.of(estimate)


def change(first: PolicyValue, second: PolicyValue, bootstrap: UserBootstrap) -> Change:
    """first − second."""
    figures: dict[str, Figure] = {}
    for metric in METRICS:
        pairs = {"dr": (first.terms(metric).dr, second.terms(metric).dr)}
        if first.page is not None and second.page is not None:
            pairs["page_dr"] = (first.judged(metric), second.judged(metric))
        for name, both in pairs.items():
            gain = paired(*both, bootstrap)
            figures |= {f"{metric}_{name}": Figure.of(gain.absolute)}
            figures |= {f"{metric}_{name}_relative": Figure.of(gain.relative)}
    return Change(**figures)


def power(first: PolicyValue, second: PolicyValue, bootstrap: UserBootstrap) -> dict[Metric, Power]:
    """What the comparison could see, by metric (see `pageopt.evaluation.power`)."""
    return {
        metric: power_of(
            *comparable(first, second, metric),
            paired(*comparable(first, second, metric), bootstrap),
            bootstrap,
            metric=metric.upper(),
            events=min(first.terms(metric).matched, second.terms(metric).matched),
        )
        for metric in METRICS
    }


def diagnostics(
    value: PolicyValue, logged: LoggedPages, bootstrap: UserBootstrap, checks: Mapping[Reward, RewardCheck]
) -> Diagnostics:
    """Whether the log can judge the policy, with what `checks` say of q̂ among the warnings."""
    diagnosis = diagnose(value.weights, bootstrap, logged.available)
    warnings = [*diagnosis.warnings, *(line for check in checks.values() for line in check.warnings)]
    return Diagnostics(
        **vars(diagnosis) | {"warnings": warnings},
        matched_clicks=value.click.matched,
        matched_purchases=value.purchase.matched,
        cascade=None if value.cascade is None else cascade_support(value.cascade),
    )


def logged_policies(
    pages: Pages, shares: Mapping[str, float | None], used: Sequence[str], params: EvaluateParams
) -> dict[str, Earned]:
    """What each logging policy earned on its own pages. Those that explore are in `shares`, with the modules they show;
    estimates are made on the pages of those `used`.
    """
    logged = {}
    policies = pages.policy.astype(str)
    for policy in sorted(set(policies.tolist())):
        rows = policies == policy
        bootstrap = UserBootstrap.of(pages.user_id[rows], params)
        ctr, ptr = (
            Figure.of(bootstrap.mean(reward[rows].sum(axis=1, dtype=np.float64)))
            for reward in (pages.click, pages.purchase)
        )
        exploring = policy in shares
        logged[policy] = Earned(
            ctr,
            ptr,
            int(rows.sum()),
            shares[policy] if exploring else UNSET,
            policy in used if exploring else UNSET,
        )
    return logged


def headline(evaluation: Evaluation, model: str, static: str) -> dict[str, float | None]:
    """The dozen numbers of `evaluation` by which people compare two models; None where the log does not give one."""
    earned, bar = evaluation.models[model], evaluation.models[static]
    change = evaluation.differences[f"{model} - {static}"]
    numbers: dict[str, float | None] = {}
    for metric in METRICS:
        by = f"{metric}_page_dr" if change.figure(f"{metric}_page_dr") else f"{metric}_dr"
        numbers |= {metric: _value(earned, by), f"{metric}_static": _value(bar, by)}
        gain = change.figure(f"{by}_relative") or Figure.of(None)
        numbers |= {f"{metric}_gain": gain.value, f"{metric}_gain_low": gain.low, f"{metric}_gain_high": gain.high}
    return numbers | {name: _value(earned, name) for name in ("auc", "ndcg", "ece_click", "true_ctr", "true_ptr")}


def _value(figures: ModelFigures, name: str) -> float | None:
    figure = figures.figure(name)
    return figure.value if figure else None
