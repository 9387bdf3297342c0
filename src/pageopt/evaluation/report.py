"""Policy values as reports/evaluation.json holds them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pageopt.errors import EvaluationError
from pageopt.evaluation.compare import PolicyValue, Terms
from pageopt.evaluation.estimate import Estimate, Floats, UserBootstrap
from pageopt.evaluation.offpolicy import Difference, dr_contributions, paired, sndr_estimate, snips_estimate
from pageopt.evaluation.power import power_of
from pageopt.features.pages import Pages

METRICS = {"ctr": "click", "ptr": "purchase"}
NOTHING: dict[str, float | None] = {"value": None, "low": None, "high": None}


def terms_of(value: PolicyValue, metric: str) -> Terms:
    """The terms of "ctr" or "ptr"."""
    return value.click if metric == "ctr" else value.purchase


def estimates(value: PolicyValue, bootstrap: UserBootstrap) -> dict[str, dict[str, Any]]:
    """{"ctr_dm", "ctr_ips", "ctr_snips", "ctr_dr", "ctr_sndr", "ctr_cascade_dr", "ptr_…"}: {"value", "low", "high"}.

    Nulls where undefined; Cascade-DR only where it is offered.
    """
    found: dict[str, dict[str, Any]] = {}
    for metric in METRICS:
        terms = terms_of(value, metric)
        found[f"{metric}_dm"] = bootstrap.mean(terms.dm).as_json()
        found[f"{metric}_ips"] = bootstrap.mean(terms.ips).as_json()
        found |= {f"{metric}_{name}": estimate for name, estimate in _self_normalised(value, terms, bootstrap).items()}
        found[f"{metric}_dr"] = bootstrap.mean(terms.dr).as_json()
        if value.cascade is not None:
            contribution = dr_contributions(terms.reward, value.cascade, terms.q_logged, terms.q_target)
            found[f"{metric}_cascade_dr"] = bootstrap.mean(contribution).as_json()
    return found


def _self_normalised(value: PolicyValue, terms: Terms, bootstrap: UserBootstrap) -> dict[str, dict[str, Any]]:
    """SNIPS and self-normalised DR over the slots that the policy fills."""
    parts = [terms.reward, terms.weight, terms.q_logged, terms.q_target]
    if value.single:  # one slot a page: all slots of the log together make the value of a page
        parts = [part.sum(axis=1, keepdims=True) for part in parts]
    else:
        filled = value.weights.filled.any(axis=0)
        parts = [part[:, filled] for part in parts]
    reward, weight, q_logged, q_target = parts
    try:
        return {
            "snips": snips_estimate(reward, weight, bootstrap).as_json(),
            "sndr": sndr_estimate(reward, weight, q_logged, q_target, bootstrap).as_json(),
        }
    except EvaluationError:
        return {"snips": dict(NOTHING), "sndr": dict(NOTHING)}


def exactly(value: float) -> dict[str, float]:
    """A value without error, in the form of an estimate."""
    return Estimate(value, value, value).as_json()


def difference(first: PolicyValue, second: PolicyValue, bootstrap: UserBootstrap) -> dict[str, Any]:
    """{"ctr_dr", "ctr_dr_relative", "ptr_dr", "ptr_dr_relative"} of first − second, paired by page."""
    found: dict[str, Any] = {}
    for metric, change in _differences(first, second, bootstrap).items():
        found[f"{metric}_dr"] = change.absolute.as_json()
        found[f"{metric}_dr_relative"] = change.relative.as_json() if change.relative else dict(NOTHING)
    return found


def power(first: PolicyValue, second: PolicyValue, bootstrap: UserBootstrap) -> dict[str, Any]:
    """What the comparison could see, by metric (see `pageopt.evaluation.power`)."""
    return {
        metric: power_of(
            terms_of(first, metric).dr,
            terms_of(second, metric).dr,
            change,
            bootstrap,
            metric=metric.upper(),
            events=min(terms_of(first, metric).matched, terms_of(second, metric).matched),
        ).as_json()
        for metric, change in _differences(first, second, bootstrap).items()
    }


def _differences(first: PolicyValue, second: PolicyValue, bootstrap: UserBootstrap) -> dict[str, Difference]:
    return {metric: paired(terms_of(first, metric).dr, terms_of(second, metric).dr, bootstrap) for metric in METRICS}


def logged_policies(pages: Pages, *, seed: int, replicates: int, confidence: float) -> dict[str, dict[str, Any]]:
    """What each logging policy earned on its own pages: {"ctr", "ptr", "pages"} by name."""
    found: dict[str, dict[str, Any]] = {}
    policies = pages.policy.astype(str)
    for policy in sorted(set(policies)):
        rows = policies == policy
        bootstrap = UserBootstrap(
            int(rows.sum()), pages.user_id[rows], seed=seed, replicates=replicates, confidence=confidence
        )
        earned: dict[str, Floats] = {"ctr": pages.click[rows], "ptr": pages.purchase[rows]}
        found[policy] = {
            metric: bootstrap.mean(reward.sum(axis=1, dtype=np.float64)).as_json() for metric, reward in earned.items()
        } | {"pages": int(rows.sum())}
    return found


def headline(evaluation: Mapping[str, Any], model: str, static: str) -> dict[str, float | None]:
    """The dozen numbers of `evaluation` by which people compare two models; None where the log does not give one."""
    earned, bar = evaluation["models"][model], evaluation["models"][static]
    numbers: dict[str, float | None] = {}
    for metric in METRICS:
        gain = evaluation["differences"][f"{model} - {static}"][f"{metric}_dr_relative"]
        numbers |= {metric: earned[f"{metric}_dr"]["value"], f"{metric}_static": bar[f"{metric}_dr"]["value"]}
        numbers |= {f"{metric}_gain": gain["value"], f"{metric}_gain_low": gain["low"]}
        numbers |= {f"{metric}_gain_high": gain["high"]}
    rest = ("auc", "ndcg", "ece_click", "true_ctr", "true_ptr")
    return numbers | {name: earned.get(name, NOTHING)["value"] for name in rest}


def as_rows(models: Mapping[str, Mapping[str, Any]]) -> list[dict[str, object]]:
    """Rows {"model", "metric", "value", "low", "high", "true"} of reports/plots/estimates.csv."""
    rows: list[dict[str, object]] = []
    for model, metrics in models.items():
        for metric, estimate in metrics.items():
            if metric.startswith("true_") or metric == "calibration":
                continue
            true = metrics.get(f"true_{metric[:3]}") if metric[:4] in ("ctr_", "ptr_") else None
            rows.append({"model": model, "metric": metric, **estimate, "true": true["value"] if true else None})
    return rows


def calibration_rows(models: Mapping[str, Mapping[str, Any]]) -> list[dict[str, object]]:
    """Rows {"model", "reward", "bin", "count", "predicted", "observed", "low", "high"} of plots/calibration.csv."""
    return [
        {"model": model, "reward": reward, "bin": number, **entry}
        for model, metrics in models.items()
        for reward, curve in metrics.get("calibration", {}).items()
        for number, entry in enumerate(curve, 1)
    ]
