"""A world that was built, as its cells read it."""

from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pageopt.config import CollectParams, load
from pageopt.errors import EvaluationError
from pageopt.evaluation.reward_model import RewardModel
from pageopt.features.encoder import Encoder
from pageopt.features.pages import Pages, load_pages
from pageopt.features.slot_bias import SlotBias
from pageopt.simulator import Contexts, Shop, truth
from pageopt.simulator.oracle import Objective
from pageopt.simulator.tables import page_ids
from pageopt.studies.experiments.values import PageValues
from pageopt.workspace import Workspace

VARIANTS = ("effects", "plain", "steep")
"""effects: modules act on those below them; plain: they do not; steep: they do, and low slots are seldom looked at."""
JUDGED, ORACLE = "judged.npy", "oracle.json"


def folder_of(root: Path, variant: str, seed: int) -> Path:
    """Where a world lies below the project's `root`."""
    return root / "experiments" / "worlds" / f"{variant}-{seed}"


class World:
    """A world that was built; parts are read when they are asked for. Raises EvaluationError where there is none."""

    def __init__(self, workspace: Workspace) -> None:
        if not (workspace.root / JUDGED).is_file():
            raise EvaluationError(f"{workspace.root} holds no world. Make it: dvc repro experiments/dvc.yaml:world")
        self.workspace = workspace

    @classmethod
    def load(cls, project: Workspace, variant: str, seed: int) -> "World":
        """The world of a variant and a seed."""
        return cls(Workspace(folder_of(project.root, variant, seed)))

    @cached_property
    def encoder(self) -> Encoder:
        """Fields and modules of its pages."""
        return Encoder.load(self.workspace.prepared / "encoder")

    @cached_property
    def slot_bias(self) -> SlotBias:
        """Examination of the slots, as its log shows it."""
        return SlotBias.read(self.workspace.prepared / "slot_bias.json")

    @cached_property
    def reward_model(self) -> RewardModel:
        """q̂ of its test pages."""
        return RewardModel.load(self.workspace.reward_model, threads=1)

    def split(self, name: str) -> Pages:
        """Pages of train, valid or test."""
        return load_pages(self.workspace.prepared / name, self.encoder)

    @cached_property
    def judged(self) -> Pages:
        """The test pages that models decide."""
        return take(self.split("test"), np.load(self.workspace.root / JUDGED, allow_pickle=False))

    def truth(self, modules: NDArray[np.int64]) -> PageValues:
        """What `modules [judged pages, slots]` (-1: empty) earn in truth."""
        names = np.array([*self.encoder.module_ids, None], dtype=object)
        return PageValues(*truth.expected(self.workspace.raw, self.judged.page_id, names[modules]))

    def oracle(self, objective: Objective, width: int = 3) -> PageValues:
        """What the pages of a search with the true model earn on the judged pages."""
        params = load(self.workspace.params, CollectParams)
        shop = Shop(params.simulator, params.seed)
        policy = shop.oracle(objective, width)
        order = {page: row for row, page in enumerate(self.judged.page_id)}
        modules = np.full((len(order), params.simulator.slots), -1, dtype=np.int64)
        for contexts in shop.contexts(params.simulator.pages):
            ids = page_ids(contexts).to_pylist()
            at = [place for place, page in enumerate(ids) if page in order]
            if at:
                modules[[order[ids[place]] for place in at]] = policy(_take_contexts(contexts, np.array(at)))
        return PageValues(*truth.expected(self.workspace.raw, self.judged.page_id, modules))


def _take_contexts(contexts: Contexts, rows: NDArray[np.int64]) -> Contexts:
    return Contexts(**{field.name: getattr(contexts, field.name)[rows] for field in fields(Contexts)})


def take(pages: Pages, rows: NDArray[np.int64]) -> Pages:
    """Some of the pages. Their raw columns are those of all: models read the encoded ones."""
    taken = {
        field.name: getattr(pages, field.name)[rows]
        for field in fields(Pages)
        if field.name not in ("fields", "encoded", "candidates")
    }
    candidates = None if pages.candidates is None else pages.candidates[rows]
    return replace(pages, **taken, encoded=pages.encoded.take(rows), candidates=candidates)
