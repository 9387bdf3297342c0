"""All cells and runs of the experiments as one report: reports/experiments.json and reports/experiments.html."""

from collections.abc import Sequence

import numpy as np
from msgspec import UNSET
from scipy.stats import kendalltau

from pageopt.config import CollectParams, EvaluateParams, ExperimentsParams, SearchParams, load
from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Estimate
from pageopt.evaluation.estimators import ESTIMATORS
from pageopt.evaluation.policy_value import METRICS, Metric
from pageopt.studies.experiments import page
from pageopt.studies.experiments.figures import Cell
from pageopt.studies.experiments.findings import (
    AbTest,
    CellPoint,
    Compared,
    EstimatorFindings,
    Findings,
    ModelFindings,
    RowFindings,
    Settings,
    TableFindings,
)
from pageopt.studies.experiments.lifts import RULE, over_seeds, word
from pageopt.studies.experiments.online import Arms, ab_test
from pageopt.studies.experiments.questions import answer, curve
from pageopt.studies.experiments.rankers import metric_of
from pageopt.studies.experiments.results import Results
from pageopt.studies.experiments.tables import BEAM, OFFLINE, RANKING, Row, Side, Table, plan
from pageopt.studies.experiments.values import PageValues, Visits
from pageopt.workspace import Workspace

_TRUE = ("true_ctr", "true_ptr")


def write(project: Workspace, seconds: float | None = None) -> Findings:
    """Write experiments.json and experiments.html; returns what the former holds.

    `seconds` is what the run took; None, where nothing had to run, leaves the figure of the last report. Raises
    EvaluationError where a cell is missing.
    """
    file = project.reports / "experiments.json"
    if seconds is None and file.is_file():
        seconds = Findings.read(file).settings.seconds
    findings = _findings(project, seconds)
    findings.write(file)
    (project.reports / "experiments.html").write_text(page.render(findings), encoding="utf-8")
    return findings


def _findings(project: Workspace, seconds: float | None) -> Findings:
    params = load(project.params, ExperimentsParams)
    results = Results(project.root, params.seeds, load(project.params, EvaluateParams).confidence)
    search = load(project.params, SearchParams)
    shop = load(project.params, CollectParams).simulator
    planned = plan(project.root)
    metric = metric_of(search)
    cells = {name: results.cells(name) for name in results.shops}
    estimated = {name: cells[name] for name, of in results.shops.items() if of.estimates}
    return Findings(
        settings=Settings(
            **params.model_dump(),
            objective=search.objective,
            confidence=results.confidence,
            modules=shop.modules,
            families=shop.families,
            slots=shop.slots,
            available=shop.available,
            seconds=seconds,
        ),
        rule=RULE,
        shops={name: of.title for name, of in results.shops.items()},
        questions=[answer(results, asked, metric) for asked in planned.questions],
        curves=[curve(results, asked, metric) for asked in planned.curves],
        tables=[_table(results, table, params.looks) for table in planned.tables],
        models={shop: {name: _model(results, shop, name) for name in of.models} for shop, of in results.shops.items()},
        estimators={name: _estimators(of) for name, of in estimated.items()},
        cells=[_point(each) for of in estimated.values() for each in of if each.ranking is not UNSET],
    )


def _table(results: Results, table: Table, looks: int) -> TableFindings:
    rows = [_row(results, table, row, looks) for row in table.rows]
    return TableFindings(table.id, table.title, table.online, rows)


def _row(results: Results, table: Table, row: Row, looks: int) -> RowFindings:
    baseline = table.baseline(row)
    return RowFindings(
        results.title(row),
        results.title(baseline),
        row.shop,
        {metric: _compared(results, row, baseline, metric) for metric in (*RANKING, *OFFLINE, *_TRUE)},
        _test(results, table, row, baseline, looks) if table.online else UNSET,
    )


def _compared(results: Results, row: Row, baseline: Side, metric: str) -> Compared:
    """Our lift of a metric, the paper's, and the word; for a true value the paper's own A/B test is the figure."""
    lift = results.lift(row.shop, row, baseline, metric)
    name = metric.replace("true_", "") + "_online" if metric in _TRUE else metric
    paper = row.paper.get(name)
    judged = lift if metric in RANKING else results.lift(row.shop, row, baseline, f"true_{_kind(metric)}")
    return Compared(lift, paper, word(judged, paper))


def _kind(metric: str) -> str:
    return metric.removeprefix("true_").split("_")[0]


def _test(results: Results, table: Table, row: Row, baseline: Side, looks: int) -> AbTest:
    shops = {}
    for seed in results.seeds_of(row.shop):
        mine, other = results.visits(row.shop, row, seed), results.visits(row.shop, baseline, seed)
        if not np.array_equal(mine.page_id, other.page_id):
            raise EvaluationError(f"Table {table.id}, seed {seed}: the two sides decided different pages.")
        shops[seed] = Arms(mine.user_id, mine.ts, _values(other, baseline), _values(mine, row))
    name = f"{table.id} {row.model or row.policy} {row.search}"
    return ab_test(shops, name, looks=looks, confidence=results.confidence)


def _values(visits: Visits, side: Side) -> PageValues:
    return visits.values[side.policy or side.search]


def _model(results: Results, shop: str, name: str) -> ModelFindings:
    figures = {}
    for metric in (*_TRUE, "ctr_dr", "ptr_dr", *RANKING):
        numbers = results.numbers(shop, Side(model=name), metric)
        figures[metric] = over_seeds(numbers, results.confidence) if numbers else None
    return ModelFindings(
        title=results.titles[name],
        **figures,
        share=results.share(shop, name),
        seconds=float(np.mean([results.cell(shop, name, seed).seconds for seed in results.seeds_of(shop)])),
    )


def _estimators(cells: Sequence[Cell]) -> dict[Metric, dict[str, EstimatorFindings]]:
    """How far each estimator is from the truth over all cells of a shop, and whether it ranks models as truth does;
    without those that no cell has.
    """
    return {metric: {name: of for name in ESTIMATORS if (of := _estimator(cells, metric, name))} for metric in METRICS}


def _estimator(cells: Sequence[Cell], metric: Metric, estimator: str) -> EstimatorFindings | None:
    pairs = []
    for cell in cells:
        of = cell.searches[BEAM]
        figure = of.figure(f"{metric}_{estimator}")
        if figure and (estimate := figure.estimate):
            pairs.append((cell.seed, estimate, getattr(of, f"true_{metric}")))
    if not pairs:
        return None
    error = np.array([estimate.value / true - 1 for _, estimate, true in pairs])
    return EstimatorFindings(
        cells=len(pairs),
        bias=float(error.mean()),
        rmse=float(np.sqrt((error**2).mean())),
        coverage=float(np.mean([estimate.low <= true <= estimate.high for _, estimate, true in pairs])),
        kendall=_kendall(pairs),
    )


def _kendall(pairs: Sequence[tuple[int, Estimate, float]]) -> float | None:
    ranks = []
    for seed in dict.fromkeys(seed for seed, _, _ in pairs):
        estimates, truths = zip(*[(e.value, true) for s, e, true in pairs if s == seed], strict=True)
        if len(set(estimates)) > 1 and len(set(truths)) > 1:
            ranks.append(float(kendalltau(estimates, truths).statistic))
    return float(np.mean(ranks)) if ranks else None


def _point(cell: Cell) -> CellPoint:
    of = cell.searches[BEAM]
    return CellPoint(
        **{name: getattr(cell, name) for name in ("shop", "name", "kind", "title", "seed", "seconds")},
        **of.figures(),
        true_ctr=of.true_ctr,
        true_ptr=of.true_ptr,
    )
