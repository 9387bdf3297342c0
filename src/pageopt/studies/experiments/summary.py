"""All cells and runs of the experiments as one report: reports/experiments.json and reports/experiments.html."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from pageopt.config import CollectParams, EvaluateParams, ExperimentsParams, SearchParams, load
from pageopt.errors import EvaluationError
from pageopt.evaluation.estimators import ESTIMATORS
from pageopt.evaluation.policy_value import METRICS
from pageopt.studies.experiments import page
from pageopt.studies.experiments.lifts import RULE, over_seeds, word
from pageopt.studies.experiments.online import Arms, ab_test
from pageopt.studies.experiments.questions import answer
from pageopt.studies.experiments.results import Results
from pageopt.studies.experiments.tables import BEAM, OFFLINE, RANKING, Row, Side, Table, plan
from pageopt.studies.experiments.values import PageValues, Visits
from pageopt.studies.experiments.world import VARIANTS
from pageopt.workspace import Workspace

_TRUE = ("true_ctr", "true_ptr")


def write(project: Workspace, seconds: float | None = None) -> dict[str, Any]:
    """Write experiments.json and experiments.html; returns what the former holds.

    `seconds` is what the run took; None, where nothing had to run, leaves the figure of the last report. Raises
    EvaluationError where a cell is missing.
    """
    file = project.reports / "experiments.json"
    if seconds is None and file.is_file():
        seconds = json.loads(file.read_text(encoding="utf-8"))["settings"]["seconds"]
    found = content(project, seconds)
    project.reports.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8")
    (project.reports / "experiments.html").write_text(page.render(found), encoding="utf-8")
    return found


def content(project: Workspace, seconds: float | None) -> dict[str, Any]:
    """What reports/experiments.json holds; `seconds` is what the run took, where it is known.

    {"settings", "rule", "questions": [{"question", "answer", "figures"}], "tables": [{"id", "title", "rows": [{"title",
    "against", "variant", "metrics": {name: {"lift", "paper", "word"}}, "test"?}]}], "models": {variant: {name: …}},
    "estimators": {variant: {name: …}}, "cells": [...]}
    """
    params = load(project.params, ExperimentsParams)
    results = Results(project.root, params.seeds, load(project.params, EvaluateParams).confidence)
    search = load(project.params, SearchParams)
    shop = load(project.params, CollectParams).simulator
    cells, planned = results.cells(), plan(project.root)
    return {
        "settings": {
            **params.model_dump(mode="json"),
            "objective": search.objective,
            "confidence": results.confidence,
            "modules": shop.modules,
            "families": shop.families,
            "slots": shop.slots,
            "available": shop.available,
            "seconds": seconds,
        },
        "rule": RULE,
        "questions": [answer(results, asked, search.objective) for asked in planned.questions],
        "tables": [_table(results, table, params.looks) for table in planned.tables],
        "models": {variant: _models(results, cells, variant) for variant in VARIANTS},
        "estimators": {variant: _estimators(cells, variant) for variant in VARIANTS},
        "cells": [_points(each) for each in cells],
    }


def _table(results: Results, table: Table, looks: int) -> dict[str, Any]:
    rows = []
    for row in table.rows:
        baseline = table.baseline(row)
        found: dict[str, Any] = {
            "title": results.title(row),
            "against": results.title(baseline),
            "variant": row.variant,
            "metrics": {metric: _metric(results, row, baseline, metric) for metric in (*RANKING, *OFFLINE, *_TRUE)},
        }
        if table.online:
            found["test"] = _test(results, table, row, baseline, looks)
        rows.append(found)
    return {"id": table.id, "title": table.title, "online": table.online, "rows": rows}


def _metric(results: Results, row: Row, baseline: Side, metric: str) -> dict[str, Any]:
    """Our lift of a metric, the paper's, and the word; for a true value the paper's own A/B test is the figure."""
    found = results.lift(row.variant, row, baseline, metric)
    name = metric.replace("true_", "") + "_online" if metric in _TRUE else metric
    paper = row.paper.get(name)
    judged = found if metric in RANKING else results.lift(row.variant, row, baseline, f"true_{_kind(metric)}")
    return {"lift": found.as_json() if found else None, "paper": paper, "word": word(judged, paper)}


def _kind(metric: str) -> str:
    return metric.removeprefix("true_").split("_")[0]


def _test(results: Results, table: Table, row: Row, baseline: Side, looks: int) -> dict[str, Any]:
    shops = {}
    for seed in results.seeds:
        mine, other = results.visits(row.variant, row, seed), results.visits(row.variant, baseline, seed)
        if not np.array_equal(mine.page_id, other.page_id):
            raise EvaluationError(f"Table {table.id}, seed {seed}: the two sides decided different pages.")
        shops[seed] = Arms(mine.user_id, mine.ts, _values(other, baseline), _values(mine, row))
    name = f"{table.id} {row.model or row.policy} {row.search}"
    return ab_test(shops, name, looks=looks, confidence=results.confidence)


def _values(visits: Visits, side: Side) -> PageValues:
    return visits.values[side.policy or side.search]


def _models(results: Results, cells: Sequence[Mapping[str, Any]], variant: str) -> dict[str, Any]:
    found = {}
    for name in dict.fromkeys(each["name"] for each in cells if each["variant"] == variant):
        side = Side(model=name)
        entry: dict[str, Any] = {"title": results.titles[name]}
        for metric in (*_TRUE, "ctr_dr", "ptr_dr", *RANKING):
            numbers = results.numbers(variant, side, metric)
            entry[metric] = over_seeds(numbers, results.confidence).as_json() if numbers else None
        for metric in _TRUE:
            share = results.share(variant, name, metric)
            entry[f"share_{_kind(metric)}"] = share.as_json() if share else None
        entry["seconds"] = float(np.mean([results.cell(variant, name, seed)["seconds"] for seed in results.seeds]))
        found[name] = entry
    return found


def _estimators(cells: Sequence[Mapping[str, Any]], variant: str) -> dict[str, Any]:
    """How far each estimator is from the truth over all cells of a variant, and whether it ranks models as truth does.

    {metric: {estimator: {"cells", "bias", "rmse", "coverage", "kendall"}}}: bias and RMSE relative to the true value;
    coverage of its intervals; Kendall's τ between estimates and true values of the models of a seed, mean over seeds.
    """
    found: dict[str, Any] = {}
    for metric in METRICS:
        found[metric] = {}
        for estimator in ESTIMATORS:
            key = f"{metric}_{estimator}"
            of = [each for each in cells if each["variant"] == variant]
            pairs = [
                (each["seed"], each["searches"][BEAM][key], each["searches"][BEAM][f"true_{metric}"])
                for each in of
                if (each["searches"][BEAM].get(key) or {}).get("value") is not None
            ]
            if not pairs:
                continue
            error = np.array([estimate["value"] / true - 1 for _, estimate, true in pairs])
            held = [estimate["low"] <= true <= estimate["high"] for _, estimate, true in pairs]
            found[metric][estimator] = {
                "cells": len(pairs),
                "bias": float(error.mean()),
                "rmse": float(np.sqrt((error**2).mean())),
                "coverage": float(np.mean(held)),
                "kendall": _kendall(pairs),
            }
    return found


def _kendall(pairs: Sequence[tuple[int, Mapping[str, float], float]]) -> float | None:
    ranks = []
    for seed in dict.fromkeys(seed for seed, _, _ in pairs):
        estimates, truths = zip(*[(e["value"], true) for s, e, true in pairs if s == seed], strict=True)
        if len(set(estimates)) > 1 and len(set(truths)) > 1:
            ranks.append(float(kendalltau(estimates, truths).statistic))
    return float(np.mean(ranks)) if ranks else None


def _points(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the plots of estimates against truth show of a cell."""
    values = found["searches"][BEAM]
    return {
        **{key: found[key] for key in ("variant", "name", "kind", "title", "seed", "seconds")},
        **{key: number for key, number in values.items() if key in _TRUE or key.split("_", 1)[1] in ESTIMATORS},
    }
