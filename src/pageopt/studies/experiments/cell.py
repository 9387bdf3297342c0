"""A cell: what one model's pages earn in one world, by the truth, and where the shop asks for it by estimators.

<model>.json holds the figures, <model>.parquet the true values of its pages one by one, for differences between models
that are paired by page and for the simulated A/B tests.
"""

import time
from pathlib import Path

from msgspec import UNSET
from numpy.typing import NDArray

from pageopt.config import EvaluateParams, ExperimentsParams, SearchParams, TrainParams, load
from pageopt.evaluation import report
from pageopt.evaluation.compare import LoggedPages
from pageopt.evaluation.figures import Ranking
from pageopt.evaluation.predictions import ranking
from pageopt.models.item.heads import HEADS
from pageopt.search.graph import PageGraph, decide
from pageopt.studies.experiments.catalog import STATIC, Model
from pageopt.studies.experiments.figures import Cell, Searched
from pageopt.studies.experiments.plans import FOLDER
from pageopt.studies.experiments.rankers import earned_by, objective_of, ranker_of
from pageopt.studies.experiments.tables import BEAM
from pageopt.studies.experiments.values import PageValues
from pageopt.studies.experiments.world import World
from pageopt.studies.rankers.ranker import Ranker
from pageopt.workspace import Workspace

LATE_START = 3
"""Slot at which the late beam opens (paper section 8: "e.g., slot 3")."""


def folder_of(root: Path, shop: str, seed: int) -> Path:
    """Where the cells of a shop and a seed lie below the project's `root`."""
    return root / FOLDER / "cells" / f"{shop}-{seed}"


def judge(project: Workspace, shop: str, name: str, model: Model, world: World) -> tuple[Cell, dict[str, PageValues]]:
    """Train a model and judge its pages; also what they earn, by search."""
    experiments, search = load(project.params, ExperimentsParams), load(project.params, SearchParams)
    objective = objective_of(model, search)
    started = time.monotonic()
    modules: dict[str, NDArray] = {}
    ranked = None
    if model.learns:
        train = load(project.params, TrainParams).model_copy(update={"threads": experiments.threads})
        ranker = ranker_of(model, world, search, train)
        ranker.fit(world.train, world.valid)
        seconds = time.monotonic() - started
        modules[BEAM] = ranker.page(world.judged.encoded, world.candidates)
        if model.searches:
            modules |= _other_searches(ranker, world, search.model_copy(update={"objective": objective}))
        values = {kind: world.truth(each) for kind, each in modules.items()}
        if world.reward_model is not None:
            ranked = _ranking(ranker, model, search, world, load(project.params, EvaluateParams))
    else:
        earned = earned_by(objective)
        values = {BEAM: world.static(earned) if model.kind == STATIC else world.known(earned, model)}
        seconds = time.monotonic() - started
    estimates = _estimates(project, world, modules)
    cell = Cell(
        shop=shop,
        name=name,
        seed=world.seed,
        kind=model.kind,
        title=model.title,
        objective=objective,
        seconds=round(seconds, 2),
        judged_pages=len(world.rows),
        ranking=ranked or UNSET,
        searches={
            kind: Searched(**estimates.get(kind, {}), true_ctr=float(of.ctr.mean()), true_ptr=float(of.ptr.mean()))
            for kind, of in values.items()
        },
    )
    return cell, values


def _estimates(project: Workspace, world: World, modules: dict[str, NDArray]) -> dict[str, dict]:
    if world.reward_model is None or not modules:
        return {}
    bootstrap = load(project.params, ExperimentsParams).bootstrap
    params = load(project.params, EvaluateParams).model_copy(update={"bootstrap": bootstrap})
    logged = LoggedPages(world.judged, world.reward_model, params)
    return {kind: report.estimates(logged.value(each), logged.bootstrap()) for kind, each in modules.items()}


def _other_searches(ranker: Ranker, world: World, search: SearchParams) -> dict[str, NDArray]:
    """The same model's pages with the beam opened late, and without a beam."""
    variants = {"late": {"beam_start": LATE_START}, "greedy": {"width": 1, "beam_start": 1}}
    graphs = {
        name: PageGraph(ranker.model, search.model_copy(update=other))  # type: ignore[attr-defined]
        for name, other in variants.items()
    }
    return {name: decide(graph, world.judged.encoded, world.candidates).modules for name, graph in graphs.items()}


def _ranking(ranker: Ranker, model: Model, search: SearchParams, world: World, params: EvaluateParams) -> Ranking:
    """AUC, F1, NDCG and MRPR of purchases on the judged pages, by the head that makes the pages.

    A model without a purchase head is asked by its own, as in the paper's Table 4. The threshold of F1 is that of the
    validation split.
    """
    head = HEADS.index(objective_of(model, search) if model.network and len(model.losses) == 1 else "purchase")
    scores = {model.title: (ranker.score(world.judged)[..., head], ranker.score(world.valid)[..., head])}
    fewer = params.model_copy(update={"bootstrap": min(params.bootstrap, 100)})
    _, figures = ranking(world.judged, world.valid, "purchase", scores, fewer)
    return Ranking(**figures[model.title])
