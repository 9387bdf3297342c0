"""All cells and runs of the experiments as one report: reports/experiments.json and reports/experiments.html."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from pageopt.config import CollectParams, EvaluateParams, ExperimentsParams, SearchParams, load
from pageopt.errors import EvaluationError
from pageopt.evaluation.estimators import ESTIMATORS
from pageopt.evaluation.policy_value import METRICS
from pageopt.studies.experiments import catalog, cell, exploration, page
from pageopt.studies.experiments.lifts import RULE, OverSeeds, lift, over_seeds, word
from pageopt.studies.experiments.online import Arms, ab_test
from pageopt.studies.experiments.questions import answer
from pageopt.studies.experiments.tables import BEAM, OFFLINE, RANKING, Row, Side, Table, plan
from pageopt.studies.experiments.values import PageValues, Visits, read_values
from pageopt.studies.experiments.world import VARIANTS
from pageopt.workspace import Workspace

_TRUE = ("true_ctr", "true_ptr")


@dataclass
class Results:
    """Everything the cells of a project wrote, for the seeds in its params."""

    root: Path
    seeds: tuple[int, ...]
    confidence: float
    _cells: dict[tuple[str, str, int], dict[str, Any]] = field(default_factory=dict)

    @cached_property
    def titles(self) -> dict[str, str]:
        """What tables call each model."""
        return {name: model.title for name, model in catalog.models(self.root).items()}

    def cell(self, variant: str, name: str, seed: int) -> dict[str, Any]:
        """cell.json. Raises EvaluationError where the cell was not run."""
        key = (variant, name, seed)
        if key not in self._cells:
            file = cell.folder_of(self.root, *key) / cell.FILE
            if not file.is_file():
                raise EvaluationError(f"{file} is missing: run `make experiments`.")
            self._cells[key] = json.loads(file.read_text(encoding="utf-8"))
        return self._cells[key]

    def cells(self) -> list[dict[str, Any]]:
        """Every cell of the plan and the seeds that was run, by variant and model."""
        names, planned = [*catalog.models(self.root)], catalog.planned(self.root)
        return [
            self.cell(variant, name, seed)
            for variant in VARIANTS
            for name in names
            for seed in self.seeds
            if (variant, name) in planned and (cell.folder_of(self.root, variant, name, seed) / cell.FILE).is_file()
        ]

    def visits(self, variant: str, side: Side, seed: int) -> Visits:
        """The pages of one side of a comparison."""
        if side.policy is not None:
            return read_values(exploration.folder_of(self.root, seed) / exploration.FILE)
        return read_values(cell.folder_of(self.root, variant, str(side.model), seed) / cell.PAGES)

    def numbers(self, variant: str, side: Side, metric: str) -> list[float] | None:
        """A metric by seed; None where it is not defined for this side or for one of the seeds."""
        found = []
        for seed in self.seeds:
            if side.policy is not None:
                values = self.visits(variant, side, seed).values[side.policy]
                number = {"true_ctr": values.ctr.mean(), "true_ptr": values.ptr.mean()}.get(metric)
            else:
                content = self.cell(variant, str(side.model), seed)
                number = _number(content["ranking"] if metric in RANKING else content["searches"][side.search], metric)
            if number is None:
                return None
            found.append(float(number))
        return found

    def lift(self, variant: str, first: Side, second: Side, metric: str) -> OverSeeds | None:
        """The relative change of a metric, paired by seed; None where it is not defined."""
        numbers = [self.numbers(variant, side, metric) for side in (first, second)]
        if numbers[0] is None or numbers[1] is None:
            return None
        return lift(numbers[0], numbers[1], self.confidence)

    def share(self, variant: str, name: str, metric: str) -> OverSeeds | None:
        """Share of the oracle's uplift over the static page that a model's true CTR or PTR has."""
        objective = {"true_ctr": "click", "true_ptr": "purchase"}[metric]
        shares = []
        for seed in self.seeds:
            mine, static = (self.cell(variant, each, seed) for each in (name, "static"))
            least, most = static["searches"][BEAM][metric], mine["oracle"][objective][metric.removeprefix("true_")]
            if not most > least:
                return None
            shares.append((mine["searches"][BEAM][metric] - least) / (most - least))
        return over_seeds(shares, self.confidence)

    def title(self, side: Side) -> str:
        """What a table calls a side."""
        return side.title or (self.titles[side.model] if side.model else str(side.policy))


def _number(values: Mapping[str, Any], metric: str) -> float | None:
    found = values.get(metric)
    return found["value"] if isinstance(found, dict) else found


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
