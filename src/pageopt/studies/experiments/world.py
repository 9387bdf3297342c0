"""A world: a simulated shop of one variant and seed, its log made ready, q̂, and the pages on which models are judged.

It is a workspace in a folder of its own, made by the stages of the pipeline, and everything in it is shared by all
cells of its variant and seed: they train on the same log, decide the same pages and are judged by the same q̂.
"""

import shutil

import numpy as np
from ruamel.yaml import YAML

from pageopt.config import EvaluateParams, ExperimentsParams, load, read
from pageopt.errors import ConfigError
from pageopt.evaluation.compare import exploration_policies, exploration_rows, fit_reward_model
from pageopt.evaluation.policy_value import Metric
from pageopt.features.encoder import Encoder
from pageopt.features.pages import load_pages
from pageopt.simulator.oracle import Objective
from pageopt.stages import check, collect, prepare
from pageopt.studies.experiments.built import JUDGED, ORACLE, VARIANTS, World, folder_of
from pageopt.studies.experiments.figures import Oracle
from pageopt.workspace import Workspace

OBJECTIVES: tuple[Objective, ...] = ("click", "purchase")
RANDOM = "random"
_SECTIONS = ("page", "collect", "check", "features", "prepare")


def build(project: Workspace, variant: str, seed: int) -> None:
    """Make a world from the project's params. What no cell reads is deleted. Raises ConfigError for its name."""
    if variant not in VARIANTS:
        raise ConfigError(f"There is no variant {variant!r} of the shop; choose one of {', '.join(VARIANTS)}.")
    experiments, evaluate = load(project.params, ExperimentsParams), load(project.params, EvaluateParams)
    root = folder_of(project.root, variant, seed)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    workspace = Workspace(root)
    _write_params(project, workspace, variant, seed)
    for stage in (collect, check, prepare):
        stage.run(workspace)
    unread = [folder for folder in workspace.raw.iterdir() if folder.is_dir() and folder.name != "truth"]
    for folder in (workspace.checked, workspace.quarantine, workspace.reports, workspace.state, *unread):
        shutil.rmtree(folder, ignore_errors=True)

    encoder = Encoder.load(workspace.prepared / "encoder")
    test = load_pages(workspace.prepared / "test", encoder)
    # q̂ as stage evaluate has it, for estimates on the random pages
    evaluate = evaluate.model_copy(update={"threads": experiments.threads})
    q = fit_reward_model(test, encoder, exploration_policies(test), (RANDOM,), evaluate, progress=False)
    q.save(workspace.reward_model)
    rows = exploration_rows(test, (RANDOM,))
    if len(rows) > experiments.judged_pages:
        rows = np.sort(np.random.default_rng(seed).choice(rows, experiments.judged_pages, replace=False))
    np.save(root / JUDGED, rows, allow_pickle=False)
    world = World(workspace)
    best = [world.oracle(objective) for objective in OBJECTIVES]
    means: list[dict[Metric, float]] = [{"ctr": float(of.ctr.mean()), "ptr": float(of.ptr.mean())} for of in best]
    Oracle(*means).write(root / ORACLE)


def _write_params(project: Workspace, world: Workspace, variant: str, seed: int) -> None:
    """The sections that stages of a world read, with its own shop."""
    experiments = load(project.params, ExperimentsParams)
    content = {name: of for name, of in read(project.params).items() if name in _SECTIONS}
    content["collect"] |= {"source": "simulator", "seed": seed}
    content["collect"]["simulator"] |= {
        "pages": experiments.log_pages,
        "page_effects": "none" if variant == "plain" else "content",
    }
    if variant == "steep":
        content["collect"]["simulator"]["slot_bias"] = experiments.steep_slot_bias
    content["prepare"]["threads"] = experiments.threads
    with world.params.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(content, file)
