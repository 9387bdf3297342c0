"""Stage evaluate: reports/evaluation.json, reports/plots/estimates.csv and calibration.csv, and models/reward.

Estimates are made on the exploration pages of the test split, ranking metrics on all of it.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pageopt.config import EvaluateParams, load
from pageopt.engine.page_engine import PageEngine
from pageopt.errors import EvaluationError
from pageopt.evaluation import plots, report
from pageopt.evaluation.compare import (
    LoggedPages,
    exploration_policies,
    fit_reward_model,
    judging_policies,
    support,
)
from pageopt.evaluation.estimate import Floats
from pageopt.evaluation.figures import Earned, EvaluatedOn, Evaluation, Figure, ModelFigures, RankedOn
from pageopt.evaluation.policy_value import METRICS, PolicyValue, Reward
from pageopt.evaluation.predictions import calibrations, ranking
from pageopt.evaluation.reward_model import RewardModel
from pageopt.evaluation.snapshots import logged_as, read_snapshots
from pageopt.evaluation.true_values import true_values, with_truth
from pageopt.features.encoder import Encoder
from pageopt.features.pages import Pages, load_pages
from pageopt.features.prepared import module_ctr
from pageopt.models.item.heads import HEADS
from pageopt.models.item.network import PageNetwork, load_network
from pageopt.models.item.shown import shown_chances
from pageopt.policies.static import static_order, static_pages
from pageopt.stages.metrics import write_metrics
from pageopt.workspace import Workspace

STATIC = "static"
ByPolicy = dict[str, dict[str, Figure]]


@dataclass(frozen=True)
class _Inputs:
    """What the stage reads; `popularity` is the smoothed CTR of every module, in the order of the encoder."""

    params: EvaluateParams
    encoder: Encoder
    test: Pages
    valid: Pages
    model: PageNetwork
    engine: PageEngine
    popularity: Floats
    snapshots: dict[str, Floats]

    @classmethod
    def read(cls, workspace: Workspace) -> "_Inputs":
        encoder = Encoder.load(workspace.prepared / "encoder")
        return cls(
            load(workspace.params, EvaluateParams),
            encoder,
            load_pages(workspace.prepared / "test", encoder),
            load_pages(workspace.prepared / "valid", encoder),
            load_network(workspace.model),
            PageEngine(workspace.bundle),
            module_ctr(workspace.prepared, encoder),
            read_snapshots(workspace.raw / "snapshots", encoder.module_ids, encoder.slots),
        )

    @property
    def candidate(self) -> str:
        """What the model is called beside the other policies."""
        return self.model.config.architecture


def run(workspace: Workspace) -> None:
    """Estimate what the model's pages would earn, beside the static page and the policies of the log."""
    torch.set_num_threads(load(workspace.params, EvaluateParams).threads)
    console = Console()
    inputs = _Inputs.read(workspace)
    with console.status("Fitting the reward model"):
        shares, reward_model = _reward_model(inputs)
        shutil.rmtree(workspace.reward_model, ignore_errors=True)
        reward_model.save(workspace.reward_model)
        logged = LoggedPages(inputs.test, reward_model, inputs.params)
        earned = report.logged_policies(inputs.test, shares, reward_model.policies, inputs.params)
    with console.status(f"Deciding {len(logged):,} pages"):
        pages = _decide(inputs, logged)
    with console.status("Estimating"):
        values = {name: logged.value(modules) for name, modules in pages.items()}
        values |= {name: logged.value_of_marginals(chances) for name, chances in inputs.snapshots.items()}
        logged.keep(workspace.reward_model)
        true = _truth(workspace.raw, inputs, logged, pages)
        evaluation = _evaluate(inputs, logged, values, earned, true)
    evaluation.write(workspace.reports / "evaluation.json")
    plots.write(workspace.reports / "plots", evaluation.models)
    write_metrics(workspace, "evaluate", report.headline(evaluation, inputs.candidate, STATIC))
    _write_pages(workspace.reward_model / "test_pages.parquet", inputs.test, logged, values)
    _summary(console, evaluation)


def _reward_model(inputs: _Inputs) -> tuple[dict[str, float | None], RewardModel]:
    """The share of modules that each exploring policy shows, and q̂ for estimates on pages of those that show all."""
    exploring = exploration_policies(inputs.test, [logged_as(name) for name in inputs.snapshots])
    shares = {policy: support(inputs.test, policy) for policy in exploring}
    judging = judging_policies(shares)
    return shares, fit_reward_model(inputs.test, inputs.encoder, exploring, judging, inputs.params)


def _decide(inputs: _Inputs, logged: LoggedPages) -> dict[str, NDArray[np.int64]]:
    """Modules `[pages, slots]` that the bundle, and the static page, show on the pages of the estimates."""
    if inputs.test.candidates is None:
        raise EvaluationError("The test split holds no candidates. Run stage prepare again.")
    encoder, engine, candidates = inputs.encoder, inputs.engine, inputs.test.candidates[logged.rows]

    def decide() -> NDArray[np.int64]:
        fields = {name: column[logged.rows] for name, column in inputs.test.fields.items()}
        return engine.rank_batch(fields, candidates, threads=inputs.params.threads).modules

    return {
        inputs.candidate: logged.decided(engine.graph, candidates, decide),
        STATIC: static_pages(static_order(inputs.popularity), candidates, encoder.module_family, encoder.slots),
    }


def _truth(raw: Path, inputs: _Inputs, logged: LoggedPages, pages: Mapping[str, NDArray]) -> ByPolicy:
    """What the pages earn in truth, by policy; nothing where it is not known."""
    if not (raw / "truth").is_dir():
        return {}
    return true_values(raw, inputs.test.page_id[logged.rows], inputs.encoder.module_ids, pages)


def _evaluate(
    inputs: _Inputs,
    logged: LoggedPages,
    values: Mapping[str, PolicyValue],
    earned: Mapping[str, Earned],
    true: ByPolicy,
) -> Evaluation:
    """Everything that reports/evaluation.json holds."""
    bootstrap, checks = logged.bootstrap(), logged.check_reward_model()
    candidate = inputs.candidate
    others = {f"{candidate} - {name}": value for name, value in values.items() if name != candidate}
    changes = {name: report.change(values[candidate], other, bootstrap) for name, other in others.items()}
    if true:
        known = f"{candidate} - {STATIC}"
        changes[known] = with_truth(changes[known], true[candidate], true[STATIC])
    ranked_on, predicted = _predictions(inputs)
    models = {}
    for name, value in values.items():
        own = earned.get(logged_as(name)) if name in inputs.snapshots else None
        logs = {f"logged_{metric}": getattr(own, metric) for metric in METRICS if own}
        figures = report.estimates(value, bootstrap) | predicted.get(name, {}) | logs | true.get(name, {})
        models[name] = ModelFigures(**figures)
    return Evaluation(
        pages=EvaluatedOn(
            test=len(inputs.test),
            estimated_on=len(logged),
            users=bootstrap.unit_count,
            policies=sorted(set(inputs.test.policy[logged.rows].astype(str).tolist())),
            single_slots=logged.single,
            no_cascade_dr=logged.no_cascade,
        ),
        models=models,
        differences=changes,
        logged=dict(earned),
        power={name: report.power(values[candidate], other, bootstrap) for name, other in others.items()},
        diagnostics={name: report.diagnostics(value, logged, bootstrap, checks) for name, value in values.items()},
        reward_model=checks,
        page_model=logged.check_page_model(inputs.test),
        ranking=ranked_on,
    )


def _predictions(inputs: _Inputs) -> tuple[RankedOn, dict[str, dict[str, Any]]]:
    """By model, how well its scores rank what was shown, and how well the network's probabilities are calibrated."""
    model, test, valid = inputs.model, inputs.test, inputs.valid
    chances, on_valid = (shown_chances(model, split.encoded, split.module) for split in (test, valid))
    bought = bool((test.purchase > 0).any()) and "purchase" in model.config.trained_heads
    label: Reward = "purchase" if bought else "click"
    head = HEADS.index(label)
    popular, popular_on_valid = (
        np.where(split.observed, inputs.popularity[np.maximum(split.module, 0)], 0.0) for split in (test, valid)
    )
    scores = {
        inputs.candidate: (chances[..., head], on_valid[..., head]),
        STATIC: (popular, popular_on_valid),
    }
    ranked_on, ranked = ranking(test, valid, label, scores, inputs.params)
    errors, curves = calibrations(model, test, chances, inputs.params)
    return ranked_on, ranked | {inputs.candidate: ranked[inputs.candidate] | errors | {"calibration": curves}}


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


def _summary(console: Console, evaluation: Evaluation) -> None:
    pages = evaluation.pages
    title = f"Values per page on {pages.estimated_on:,} test pages of {', '.join(pages.policies)} traffic"
    columns = {"CTR, page-aware": "ctr_page_dr", "CTR by slot": "ctr_dr", "true CTR": "true_ctr"}
    columns |= {"PTR, page-aware": "ptr_page_dr", "PTR by slot": "ptr_dr", "true PTR": "true_ptr"}
    columns |= {"CTR in its own log": "logged_ctr"}
    models = evaluation.models.items()
    columns = {head: key for head, key in columns.items() if any(of.figure(key) for _, of in models)}
    table = Table("policy", *columns, title=title, title_justify="left")
    for name, of in models:
        table.add_row(name, *(_shown(of.figure(key)) for key in columns.values()))
    console.print(table)
    for name, earned in evaluation.logged.items():
        if earned.used is False:
            console.print(
                f"Pages of {name} traffic are not used: it shows about {earned.support or 0:.0%} of the modules.",
                highlight=False,
            )
    for name, powers in evaluation.power.items():
        for metric, power in powers.items():
            if not any(getattr(earned, metric).value for earned in evaluation.logged.values()):
                continue  # a log without purchases says nothing of them
            console.print(f"{name}: {power.verdict}", highlight=False)
    if evaluation.page_model is not None:
        for problem in evaluation.page_model.problems:
            console.print(f"[yellow]The estimates cannot be trusted: {problem}[/]", highlight=False)
    for name, diagnosis in evaluation.diagnostics.items():
        for warning in diagnosis.warnings:
            console.print(f"[yellow]{name}: {warning}[/]", highlight=False)


def _shown(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return ""
    value, low, high = (f"{number:.3g}" for number in (figure.value, figure.low, figure.high))
    return value if low == high else f"{value} ({low}–{high})"
