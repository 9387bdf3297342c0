"""Stage evaluate: reports/evaluation.json, reports/plots/estimates.csv and calibration.csv, and models/reward.

Estimates are made on the exploration pages of the test split, ranking metrics on all of it.
"""

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pageopt.config import EvaluateParams, SearchParams, load
from pageopt.errors import EvaluationError
from pageopt.evaluation import report
from pageopt.evaluation.calibration import calibration
from pageopt.evaluation.cascade import cascade_support
from pageopt.evaluation.compare import (
    LoggedPages,
    PolicyValue,
    exploration_policies,
    fit_reward_model,
    judging_policies,
    support,
)
from pageopt.evaluation.estimate import Floats, UserBootstrap
from pageopt.evaluation.reward_check import RewardCheck
from pageopt.evaluation.shown import Label, ShownPages
from pageopt.evaluation.snapshots import logged_as, read_snapshots
from pageopt.evaluation.weights import diagnose
from pageopt.features.encoder import Encoder
from pageopt.features.pages import Pages, load_pages
from pageopt.models.item.heads import HEADS
from pageopt.models.item.network import PageNetwork, load_network
from pageopt.models.item.shown import shown_chances
from pageopt.policies.static import static_order, static_pages
from pageopt.search.graph import PageGraph, decide
from pageopt.simulator import truth
from pageopt.stages.metrics import write_metrics
from pageopt.workspace import Workspace

STATIC = "static"


def run(workspace: Workspace) -> None:
    """Estimate what the model's pages would earn, beside the static page and the policies of the log."""
    params, search = load(workspace.params, EvaluateParams), load(workspace.params, SearchParams)
    torch.set_num_threads(params.threads)
    console = Console()
    encoder = Encoder.load(workspace.prepared / "encoder")
    test = load_pages(workspace.prepared / "test", encoder)
    model = load_network(workspace.model)
    name_of_model = model.config.architecture
    popularity = _popularity(workspace.prepared / "modules.parquet", encoder)
    snapshots = read_snapshots(workspace.raw / "snapshots", encoder.module_ids, encoder.slots)

    with console.status("Fitting the reward model"):
        exploring = exploration_policies(test, [logged_as(name) for name in snapshots])
        shares = {policy: support(test, policy) for policy in exploring}
        reward_model = fit_reward_model(test, encoder, exploring, judging_policies(shares), params)
        shutil.rmtree(workspace.reward_model, ignore_errors=True)
        reward_model.save(workspace.reward_model)
    logged = LoggedPages(test, reward_model, params)
    with console.status(f"Deciding {len(logged):,} pages"):
        pages = {
            name_of_model: _decide(model, search, test, logged),
            STATIC: static_pages(
                static_order(popularity), _candidates(test)[logged.rows], encoder.module_family, encoder.slots
            ),
        }
    with console.status("Estimating"):
        values = {name: logged.value(modules) for name, modules in pages.items()}
        values |= {name: logged.value_of_marginals(chances) for name, chances in snapshots.items()}
        evaluation = _evaluate(test, logged, values, name_of_model, params)
        for policy, share in shares.items():
            evaluation["logged"][policy] |= {"support": share, "used": policy in reward_model.policies}
    with console.status("Ranking what was shown"):
        chances = shown_chances(model, test.encoded, test.module)
        valid = load_pages(workspace.prepared / "valid", encoder)
        ranking = _ranking(model, test, chances, valid, popularity, params)
        for name, metrics in ranking["models"].items():
            evaluation["models"][name] = metrics | evaluation["models"][name]
        evaluation["ranking"] = ranking["on"]
    with console.status("Calibrating"):
        evaluation["models"][name_of_model] |= _calibration(model, test, chances, params)
    for name in snapshots:
        earned = evaluation["logged"].get(logged_as(name), {})
        evaluation["models"][name] |= {f"logged_{metric}": earned[metric] for metric in report.METRICS if earned}
    if (workspace.raw / "truth").is_dir():
        _add_truth(workspace.raw, evaluation, test.page_id[logged.rows], encoder.module_ids, pages, name_of_model)

    _write(workspace, evaluation)
    write_metrics(workspace, "evaluate", report.headline(evaluation, name_of_model, STATIC))
    _write_pages(workspace.reward_model / "test_pages.parquet", test, logged, values)
    _summary(console, evaluation)


def _popularity(file: Path, encoder: Encoder) -> Floats:
    """Smoothed CTR of every module, in the order of the encoder."""
    table = pq.read_table(file, columns=["module_id", "ctr"])
    if tuple(table["module_id"].to_pylist()) != encoder.module_ids:
        raise EvaluationError(f"{file} lists other modules than the encoder beside it. Run stage prepare again.")
    return table["ctr"].to_numpy()


def _candidates(pages: Pages) -> NDArray[np.int64]:
    if pages.candidates is None:
        raise EvaluationError("The test split holds no candidates. Run stage prepare again.")
    return pages.candidates


def _decide(model: PageNetwork, search: SearchParams, test: Pages, logged: LoggedPages) -> NDArray[np.int64]:
    graph = PageGraph(model, width=search.width, beam_start=search.beam_start, objective=search.objective)
    return decide(graph, logged.encoded, _candidates(test)[logged.rows]).modules


def _evaluate(
    test: Pages, logged: LoggedPages, values: Mapping[str, PolicyValue], candidate: str, params: EvaluateParams
) -> dict[str, Any]:
    bootstrap = logged.bootstrap()
    others = [name for name in values if name != candidate]
    checks = logged.check_reward_model()
    return {
        "pages": {
            "test": len(test),
            "estimated_on": len(logged),
            "users": bootstrap.unit_count,
            "policies": sorted(set(test.policy[logged.rows].astype(str))),
            "single_slots": logged.single,
            "no_cascade_dr": logged.no_cascade,
        },
        "models": {name: report.estimates(value, bootstrap) for name, value in values.items()},
        "differences": {
            f"{candidate} - {name}": report.difference(values[candidate], values[name], bootstrap) for name in others
        },
        "logged": report.logged_policies(
            test, seed=params.seed, replicates=params.bootstrap, confidence=params.confidence
        ),
        "power": {f"{candidate} - {name}": report.power(values[candidate], values[name], bootstrap) for name in others},
        "diagnostics": {name: _diagnostics(value, logged, bootstrap, checks) for name, value in values.items()},
        "reward_model": {name: check.as_json() for name, check in checks.items()},
    }


def _diagnostics(
    value: PolicyValue, logged: LoggedPages, bootstrap: UserBootstrap, checks: Mapping[str, RewardCheck]
) -> dict[str, Any]:
    found = diagnose(value.weights, bootstrap, logged.available)
    warnings = [*found["warnings"], *(line for check in checks.values() for line in check.warnings)]
    return found | {
        "matched_clicks": value.click.matched,
        "matched_purchases": value.purchase.matched,
        "cascade": None if value.cascade is None else cascade_support(value.cascade),
        "warnings": warnings,
    }


def _ranking(
    model: PageNetwork, test: Pages, chances: Floats, valid: Pages, popularity: Floats, params: EvaluateParams
) -> dict[str, Any]:
    """Ranking metrics on the whole test split, of which the model says `chances`; F1's threshold is of `valid`."""
    bought = bool((test.purchase > 0).any()) and "purchase" in model.config.trained_heads
    label: Label = "purchase" if bought else "click"

    def scores(pages: Pages, chances: Floats) -> dict[str, Floats]:
        return {
            model.config.architecture: chances[..., HEADS.index(label)],
            STATIC: np.where(pages.observed, popularity[np.maximum(pages.module, 0)], 0.0),
        }

    tuned = ShownPages(valid, label)
    thresholds = {
        name: tuned.threshold(score)
        for name, score in scores(valid, shown_chances(model, valid.encoded, valid.module)).items()
    }
    shown = ShownPages(test, label)
    models = {
        name: {
            metric: estimate.as_json()
            for metric, estimate in shown.metrics(
                score,
                thresholds[name],
                seed=params.seed,
                replicates=params.bootstrap,
                confidence=params.confidence,
            ).items()
        }
        for name, score in scores(test, chances).items()
    }
    finite = {name: threshold if np.isfinite(threshold) else None for name, threshold in thresholds.items()}
    return {"models": models, "on": {"label": label, "pages": len(test), "f1_threshold": finite}}


def _calibration(model: PageNetwork, test: Pages, chances: Floats, params: EvaluateParams) -> dict[str, Any]:
    """{"ece_click", "ece_purchase", "calibration": {"click", "purchase"}} of the heads that were trained."""
    shown = test.observed
    page, _ = np.nonzero(shown)
    bootstrap = UserBootstrap(
        len(test), test.user_id, seed=params.seed, replicates=params.bootstrap, confidence=params.confidence
    )
    found: dict[str, Any] = {"calibration": {}}
    for head, label in (("click", test.click), ("purchase", test.purchase)):
        if head not in model.config.trained_heads:
            continue
        chance = chances[..., HEADS.index(head)]
        result = calibration(label[shown] > 0, chance[shown], page, bootstrap)
        found[f"ece_{head}"] = result.error.as_json()
        found["calibration"][head] = [entry.as_json() for entry in result.bins]
    return found


def _add_truth(
    raw: Path,
    evaluation: dict[str, Any],
    page_ids: NDArray,
    module_ids: Sequence[str],
    pages: Mapping[str, NDArray],
    candidate: str,
) -> None:
    """True CTR and PTR of each policy's pages, on the pages of the estimates, and what `candidate` gains on static."""
    names = np.array([*module_ids, None], dtype=object)  # -1 is the last: an empty slot
    for name, modules in pages.items():
        click, purchase = truth.expected(raw, page_ids, names[modules])
        for metric, chance in (("true_ctr", click), ("true_ptr", purchase)):
            evaluation["models"][name][metric] = report.exactly(float(chance.sum(axis=1).mean()))
    models = evaluation["models"]
    for metric in ("true_ctr", "true_ptr"):
        first, second = models[candidate][metric]["value"], models[STATIC][metric]["value"]
        change = evaluation["differences"][f"{candidate} - {STATIC}"]
        change[metric] = report.exactly(first - second)
        change[f"{metric}_relative"] = report.exactly(first / second - 1) if second else dict(report.NOTHING)


def _write(workspace: Workspace, evaluation: Mapping[str, Any]) -> None:
    plots = workspace.reports / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    text = json.dumps(evaluation, indent=2, allow_nan=False) + "\n"
    (workspace.reports / "evaluation.json").write_text(text, encoding="utf-8")
    with (plots / "estimates.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["model", "metric", "value", "low", "high", "true"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(report.as_rows(evaluation["models"]))
    with (plots / "calibration.csv").open("w", encoding="utf-8", newline="") as file:
        names = ["model", "reward", "bin", "count", "predicted", "observed", "low", "high"]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(report.calibration_rows(evaluation["models"]))


def _write_pages(file: Path, test: Pages, logged: LoggedPages, values: Mapping[str, PolicyValue]) -> None:
    """What each page contributed to the DR estimates, for those who want to look into one."""
    rows = logged.rows
    columns: dict[str, Any] = {
        "page_id": pa.array(test.page_id[rows], pa.string()),
        "user_id": pa.array(test.user_id[rows], pa.string(), from_pandas=True),
        "policy": pa.array(test.policy[rows], pa.string()),
        "clicks": test.click[rows].sum(axis=1),
        "purchases": test.purchase[rows].sum(axis=1),
    }
    for name, value in values.items():
        columns |= {f"{name}_matches": (value.weights.raw > 0).sum(axis=1), f"{name}_ctr": value.ctr}
        columns[f"{name}_ptr"] = value.ptr
    pq.write_table(pa.table(columns), file, compression="zstd")


def _summary(console: Console, evaluation: Mapping[str, Any]) -> None:
    pages = evaluation["pages"]
    title = f"Values per page on {pages['estimated_on']:,} test pages of {', '.join(pages['policies'])} traffic"
    columns = {"CTR (DR)": "ctr_dr", "true CTR": "true_ctr", "PTR (DR)": "ptr_dr", "true PTR": "true_ptr"}
    columns |= {"CTR in its own log": "logged_ctr"}
    models = evaluation["models"].items()
    columns = {head: key for head, key in columns.items() if any(key in metrics for _, metrics in models)}
    table = Table("policy", *columns, title=title, title_justify="left")
    for name, metrics in models:
        table.add_row(name, *(_shown(metrics.get(key)) for key in columns.values()))
    console.print(table)
    for name, earned in evaluation["logged"].items():
        if not earned.get("used", True):
            console.print(
                f"Pages of {name} traffic are not used: it shows about {earned['support'] or 0:.0%} of the modules.",
                highlight=False,
            )
    for name, powers in evaluation["power"].items():
        for metric, power in powers.items():
            if not any(earned[metric]["value"] for earned in evaluation["logged"].values()):
                continue  # a log without purchases says nothing of them
            console.print(f"{name}: {power['verdict']}", highlight=False)
    for name, found in evaluation["diagnostics"].items():
        for warning in found["warnings"]:
            console.print(f"[yellow]{name}: {warning}[/]", highlight=False)


def _shown(estimate: Mapping[str, float | None] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return ""
    value, low, high = (f"{estimate[key]:.3g}" for key in ("value", "low", "high"))
    return value if low == high else f"{value} ({low}–{high})"
