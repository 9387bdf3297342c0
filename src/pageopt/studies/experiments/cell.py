"""A cell: one model trained on the log of one world, its pages judged by estimators and by the truth.

cell.json holds the figures, pages.parquet the true values of its pages one by one, for differences between models that
are paired by page and for the simulated A/B tests.
"""

import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pageopt.config import EvaluateParams, ExperimentsParams, SearchParams, TrainParams, load
from pageopt.errors import ConfigError
from pageopt.evaluation import report
from pageopt.evaluation.compare import LoggedPages
from pageopt.evaluation.figures import Ranking
from pageopt.evaluation.predictions import ranking
from pageopt.features.pages import Pages
from pageopt.models.item.heads import HEADS, Head
from pageopt.search.graph import PageGraph, decide
from pageopt.studies.experiments.built import ORACLE, World
from pageopt.studies.experiments.catalog import Model
from pageopt.studies.experiments.catalog import model as find_model
from pageopt.studies.experiments.figures import Cell, Oracle, Searched
from pageopt.studies.experiments.rankers import objective_of, ranker_of
from pageopt.studies.experiments.values import write_values
from pageopt.studies.rankers.ranker import Ranker
from pageopt.workspace import Workspace

FILE, PAGES = "cell.json", "pages.parquet"
LATE_START = 3
"""Slot at which the late beam opens (paper section 8: "e.g., slot 3")."""


def folder_of(root: Path, variant: str, name: str, seed: int) -> Path:
    """Where a cell lies below the project's `root`."""
    return root / "experiments" / "cells" / f"{variant}-{name}-{seed}"


def train_and_judge(project: Workspace, variant: str, name: str, seed: int) -> None:
    """Train and judge. Raises ConfigError for an unknown name, EvaluationError where its world was not built."""
    model = find_model(project.root, name)
    experiments, search = load(project.params, ExperimentsParams), load(project.params, SearchParams)
    evaluate = load(project.params, EvaluateParams).model_copy(update={"bootstrap": experiments.bootstrap})
    train = load(project.params, TrainParams).model_copy(update={"threads": experiments.threads})
    torch.set_num_threads(experiments.threads)
    world = World.load(project, variant, seed)
    ranker = ranker_of(model, world, search, train, seed)
    fitted, valid = world.split("train"), world.split("valid")
    started = time.monotonic()
    ranker.fit(fitted, valid)
    seconds = time.monotonic() - started
    del fitted

    pages = {"pages": ranker.page(world.judged.encoded, _candidates(world.judged))}
    if model.searches:
        pages |= _other_searches(ranker, world, search, objective_of(model, search))
    logged = LoggedPages(world.judged, world.reward_model, evaluate)
    bootstrap = logged.bootstrap()
    values = {kind: world.truth(modules) for kind, modules in pages.items()}
    judged, folder = world.judged, folder_of(project.root, variant, name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_values(folder / PAGES, judged.page_id, judged.user_id, judged.ts, values)
    Cell(
        variant=variant,
        name=name,
        seed=seed,
        kind=model.kind,
        title=model.title,
        objective=objective_of(model, search),
        seconds=round(seconds, 2),
        judged_pages=len(logged),
        oracle=Oracle.read(world.workspace.root / ORACLE),
        ranking=_ranking(ranker, model, search, world, valid, evaluate),
        searches={
            kind: Searched(
                **report.estimates(logged.value(modules), bootstrap),
                true_ctr=float(values[kind].ctr.mean()),
                true_ptr=float(values[kind].ptr.mean()),
            )
            for kind, modules in pages.items()
        },
    ).write(folder / FILE)


def _candidates(pages: Pages) -> NDArray[np.int64]:
    if pages.candidates is None:
        raise ConfigError("The test split holds no candidates. Make the world again.")
    return pages.candidates


def _other_searches(
    ranker: Ranker, world: World, search: SearchParams, objective: Head
) -> dict[str, NDArray[np.int64]]:
    """The same model's pages with the beam opened late, and without a beam."""
    variants = {"late": {"beam_start": LATE_START}, "greedy": {"width": 1, "beam_start": 1}}
    pages = {}
    for name, other in variants.items():
        graph = PageGraph(ranker.model, search.model_copy(update={"objective": objective, **other}))  # type: ignore[attr-defined]
        pages[name] = decide(graph, world.judged.encoded, _candidates(world.judged)).modules
    return pages


def _ranking(
    ranker: Ranker, model: Model, search: SearchParams, world: World, valid: Pages, params: EvaluateParams
) -> Ranking:
    """AUC, F1, NDCG and MRPR of purchases on the judged pages, by the head that makes the pages.

    A model without a purchase head is asked by its own, as in the paper's Table 4. The threshold of F1 is that of the
    validation split.
    """
    head = HEADS.index(objective_of(model, search) if model.network and len(model.losses) == 1 else "purchase")
    scores = {model.title: (ranker.score(world.judged)[..., head], ranker.score(valid)[..., head])}
    fewer = params.model_copy(update={"bootstrap": min(params.bootstrap, 100)})
    _, figures = ranking(world.judged, valid, "purchase", scores, fewer)
    return Ranking(**figures[model.title])
