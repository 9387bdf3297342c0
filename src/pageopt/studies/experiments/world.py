"""A world: a simulated shop of one variant and seed, its log made ready, q̂, and the pages on which models are judged.

It is a workspace in a folder of its own, made by the stages of the pipeline, and everything in it is shared by all
cells of its variant and seed: they train on the same log, decide the same pages and are judged by the same q̂.
"""

import shutil
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML

from pageopt.config import CollectParams, EvaluateParams, ExperimentsParams, PrepareParams, load
from pageopt.errors import ConfigError, EvaluationError
from pageopt.evaluation.compare import exploration_policies, exploration_rows, fit_reward_model
from pageopt.evaluation.policy_value import Metric
from pageopt.evaluation.reward_model import RewardModel
from pageopt.features.encoder import Encoder
from pageopt.features.pages import Pages, load_pages
from pageopt.features.slot_bias import SlotBias
from pageopt.simulator import Contexts, Shop, truth
from pageopt.simulator.oracle import Objective
from pageopt.simulator.tables import page_ids
from pageopt.studies.experiments.figures import Oracle
from pageopt.studies.experiments.values import PageValues
from pageopt.workspace import Workspace

VARIANTS = ("effects", "plain", "steep")
"""effects: modules act on those below them; plain: they do not; steep: they do, and low slots are seldom looked at."""
OBJECTIVES: tuple[Objective, ...] = ("click", "purchase")
RANDOM = "random"
_JUDGED, _ORACLE = "judged.npy", "oracle.json"
_SECTIONS = ("collect", "check", "features", "prepare")


def folder_of(root: Path, variant: str, seed: int) -> Path:
    """Where a world lies below the project's `root`."""
    return root / "experiments" / "worlds" / f"{variant}-{seed}"


def build(project: Workspace, variant: str, seed: int) -> None:
    """Make a world from the project's params. What no cell reads is deleted. Raises ConfigError for its name."""
    if variant not in VARIANTS:
        raise ConfigError(f"There is no variant {variant!r} of the shop; choose one of {', '.join(VARIANTS)}.")
    from pageopt.stages import check, collect, prepare  # databases, which a cell need not wait for

    experiments, evaluate = load(project.params, ExperimentsParams), load(project.params, EvaluateParams)
    root = folder_of(project.root, variant, seed)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    workspace = Workspace(root)
    _write_params(project, workspace, variant, seed)
    for stage in (collect, check, prepare):
        stage.run(workspace)
    for folder in (workspace.checked, workspace.quarantine, workspace.reports, workspace.state, *_unread(workspace)):
        shutil.rmtree(folder, ignore_errors=True)

    encoder = Encoder.load(workspace.prepared / "encoder")
    test = load_pages(workspace.prepared / "test", encoder)
    # q̂ as stage evaluate has it, for estimates on the random pages
    evaluate = evaluate.model_copy(update={"threads": experiments.threads})
    q = fit_reward_model(test, encoder, exploration_policies(test), (RANDOM,), evaluate, progress=False)
    q.save(workspace.reward_model)
    rows = _judged_rows(test, experiments.judged_pages, seed)
    np.save(root / _JUDGED, rows, allow_pickle=False)
    world = World(workspace)
    best = [world.oracle(objective) for objective in OBJECTIVES]
    means: list[dict[Metric, float]] = [{"ctr": float(of.ctr.mean()), "ptr": float(of.ptr.mean())} for of in best]
    Oracle(*means).write(root / _ORACLE)


def _write_params(project: Workspace, world: Workspace, variant: str, seed: int) -> None:
    """The sections that stages of a world read, with its own shop."""
    experiments = load(project.params, ExperimentsParams)
    content = YAML(typ="safe").load(project.params.read_text(encoding="utf-8"))
    content = {name: content[name] for name in _SECTIONS}
    content["collect"] |= {"source": "simulator", "seed": seed}
    content["collect"]["simulator"] |= {"pages": experiments.log_pages, "page_effects": variant != "plain"}
    if variant == "steep":
        content["collect"]["simulator"]["slot_bias"] = experiments.steep_slot_bias
    content["prepare"]["threads"] = experiments.threads
    with world.params.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(content, file)


def _unread(workspace: Workspace) -> list[Path]:
    return [folder for folder in workspace.raw.iterdir() if folder.is_dir() and folder.name != "truth"]


def _judged_rows(test: Pages, count: int, seed: int) -> NDArray[np.int64]:
    """Random pages of the test split, rising; all of them where there are fewer than `count`."""
    rows = exploration_rows(test, (RANDOM,))
    if len(rows) > count:
        rows = np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))
    return rows


class World:
    """A world that was built; parts are read when they are asked for. Raises EvaluationError where there is none."""

    def __init__(self, workspace: Workspace) -> None:
        if not (workspace.root / _JUDGED).is_file():
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
    def max_slot_weight(self) -> float:
        """Largest weight of a slot in a loss."""
        return load(self.workspace.params, PrepareParams).slot_bias.max_weight

    @cached_property
    def reward_model(self) -> RewardModel:
        """q̂ of its test pages."""
        return RewardModel.load(self.workspace.reward_model, threads=1)

    @cached_property
    def judged_rows(self) -> NDArray[np.int64]:
        """Index into the test split of the pages that models decide, `[pages]`."""
        rows: NDArray[np.int64] = np.load(self.workspace.root / _JUDGED, allow_pickle=False)
        return rows

    def split(self, name: str) -> Pages:
        """Pages of train, valid or test."""
        return load_pages(self.workspace.prepared / name, self.encoder)

    @cached_property
    def judged(self) -> Pages:
        """The test pages that models decide."""
        return take(self.split("test"), self.judged_rows)

    def truth(self, modules: NDArray[np.int64]) -> PageValues:
        """What `modules [judged pages, slots]` (-1: empty) earn in truth."""
        names = np.array([*self.encoder.module_ids, None], dtype=object)
        return PageValues(*truth.expected(self.workspace.raw, self.judged.page_id, names[modules]))

    @cached_property
    def oracle_value(self) -> Oracle:
        """True "ctr" and "ptr" on the judged pages of the oracle for "click" and of the one for "purchase"."""
        return Oracle.read(self.workspace.root / _ORACLE)

    def oracle(self, objective: Objective, width: int = 3) -> PageValues:
        """What the pages of a search with the true model earn on the judged pages."""
        params = load(self.workspace.params, CollectParams)
        shop = Shop(params.simulator, params.seed)
        policy = shop.oracle(objective, width)
        order = {page: row for row, page in enumerate(self.judged.page_id)}
        found = np.full((len(order), params.simulator.slots), -1, dtype=np.int64)
        for contexts in shop.contexts(params.simulator.pages):
            ids = page_ids(contexts).to_pylist()
            at = [place for place, page in enumerate(ids) if page in order]
            if at:
                found[[order[ids[place]] for place in at]] = policy(_take_contexts(contexts, np.array(at)))
        return PageValues(*truth.expected(self.workspace.raw, self.judged.page_id, found))


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
