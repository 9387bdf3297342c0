"""A world: a simulated shop of one plan and seed, its log made ready, and the pages on which models are judged.

It is a workspace in a folder of its own, made by the stages of the pipeline. All cells of a shop and a seed share it:
they train on the same log, decide the same pages and are judged by the same truth, and where the shop asks for
estimates by the same q̂.
"""

import shutil
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML

from pageopt.config import EvaluateParams, ExperimentsParams, load, read
from pageopt.errors import ConfigError
from pageopt.evaluation.compare import exploration_policies, exploration_rows, fit_reward_model
from pageopt.evaluation.reward_model import RewardModel
from pageopt.features.encoder import Encoder
from pageopt.features.pages import Pages, load_pages
from pageopt.features.slot_bias import SlotBias
from pageopt.simulator import truth
from pageopt.simulator.knowable import knowable_pages
from pageopt.simulator.measure import static_by
from pageopt.simulator.oracle import Objective
from pageopt.stages import check, collect, prepare
from pageopt.studies.experiments.catalog import Model
from pageopt.studies.experiments.plans import FOLDER, ShopPlan
from pageopt.studies.experiments.values import PageValues
from pageopt.workspace import Workspace

RANDOM = "random"
_SECTIONS = ("page", "collect", "check", "features", "prepare")


@dataclass(frozen=True)
class World:
    """A world that was built; parts are read when they are asked for. `rows` of its test pages are judged."""

    workspace: Workspace
    seed: int
    rows: NDArray[np.int64]
    reward_model: RewardModel | None

    @cached_property
    def encoder(self) -> Encoder:
        """Fields and modules of its pages."""
        return Encoder.load(self.workspace.prepared / "encoder")

    @cached_property
    def slot_bias(self) -> SlotBias:
        """Examination of the slots, as its log shows it."""
        return SlotBias.read(self.workspace.prepared / "slot_bias.json")

    @cached_property
    def train(self) -> Pages:
        """What models learn from."""
        return load_pages(self.workspace.prepared / "train", self.encoder)

    @cached_property
    def valid(self) -> Pages:
        """What tells them when to stop."""
        return load_pages(self.workspace.prepared / "valid", self.encoder)

    @cached_property
    def judged(self) -> Pages:
        """The test pages that models decide."""
        return _take(load_pages(self.workspace.prepared / "test", self.encoder), self.rows)

    @property
    def candidates(self) -> NDArray[np.int64]:
        """Modules `[judged pages, N]` that may be shown, padded with -1."""
        if self.judged.candidates is None:
            raise ConfigError("The test split holds no candidates. Make the world again.")
        return self.judged.candidates

    def truth(self, modules: NDArray[np.int64]) -> PageValues:
        """What `modules [judged pages, slots]` (-1: empty) earn in truth."""
        names = np.array([*self.encoder.module_ids, None], dtype=object)
        return PageValues(*truth.expected(self.workspace.raw, self.judged.page_id, names[modules]))

    def static(self, objective: Objective) -> PageValues:
        """What the static page by true worth earns."""
        pages = static_by(self.workspace.raw, self.judged.page_id, objective)
        return PageValues(*truth.expected(self.workspace.raw, self.judged.page_id, pages))

    def known(self, objective: Objective, model: Model) -> PageValues:
        """What the Bayes page earns that knows what `model` says."""
        pages = knowable_pages(
            self.workspace.raw,
            self.judged.page_id,
            objective,
            history=model.history,
            page_effects=model.page_effects,
            exact_taste=model.exact_taste,
        )
        return PageValues(*truth.expected(self.workspace.raw, self.judged.page_id, pages))


def folder_of(root: Path, name: str, seed: int) -> Path:
    """Where the world of a shop lies below the project's `root` while its models are trained."""
    return root / FOLDER / "worlds" / f"{name}-{seed}"


def build(project: Workspace, name: str, plan: ShopPlan, seed: int) -> World:
    """Make the world of shop `name` from the project's params."""
    experiments = load(project.params, ExperimentsParams)
    root = folder_of(project.root, name, seed)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    workspace = Workspace(root)
    _write_params(project, workspace, plan, seed)
    for stage in (collect, check, prepare):
        stage.run(workspace)
    encoder = Encoder.load(workspace.prepared / "encoder")
    test = load_pages(workspace.prepared / "test", encoder)
    # Estimates are of random pages; the truth is known of every page.
    rows = exploration_rows(test, (RANDOM,)) if plan.estimates else np.arange(len(test))
    if len(rows) > experiments.judged_pages:
        rows = np.sort(np.random.default_rng(seed).choice(rows, experiments.judged_pages, replace=False))
    return World(workspace, seed, rows, _reward_model(project, test, encoder) if plan.estimates else None)


def _reward_model(project: Workspace, test: Pages, encoder: Encoder) -> RewardModel:
    """q̂ as stage evaluate has it."""
    evaluate = load(project.params, EvaluateParams)
    evaluate = evaluate.model_copy(update={"threads": load(project.params, ExperimentsParams).threads})
    return fit_reward_model(test, encoder, exploration_policies(test), (RANDOM,), evaluate, progress=False)


def _write_params(project: Workspace, world: Workspace, plan: ShopPlan, seed: int) -> None:
    """The sections that stages of a world read, with its own shop; users come as often as in the project's."""
    experiments = load(project.params, ExperimentsParams)
    content = {name: of for name, of in read(project.params).items() if name in _SECTIONS}
    shop, pages = content["collect"]["simulator"], round(experiments.log_pages * plan.pages)
    users = max(1, round(shop["users"] * pages / shop["pages"]))
    content["collect"] |= {"source": "simulator", "seed": seed}
    content["prepare"]["threads"] = experiments.threads
    content["collect"]["simulator"] |= {"pages": pages, "users": users}
    for path, value in plan.changed.items():
        *within, key = path.split(".")
        section = content
        for part in within:
            section = section.get(part, {})
        if key not in section:
            raise ConfigError(f"A shop of the experiments changes {path!r}, which params.yaml does not have.")
        section[key] = value
    with world.params.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(content, file)


def _take(pages: Pages, rows: NDArray[np.int64]) -> Pages:
    """Some of the pages. Their raw columns are those of all: models read the encoded ones."""
    taken = {
        field.name: getattr(pages, field.name)[rows]
        for field in fields(Pages)
        if field.name not in ("fields", "encoded", "candidates")
    }
    candidates = None if pages.candidates is None else pages.candidates[rows]
    return replace(pages, **taken, encoded=pages.encoded.take(rows), candidates=candidates)
