"""All cells of a shop and a seed in one process: its world is made, models are trained and judged, the log goes."""

import shutil

import msgspec
import torch
from msgspec import UNSET

from pageopt.config import ExperimentsParams, SearchParams, load
from pageopt.evaluation.policy_value import Metric
from pageopt.simulator.measure import share_of_knowable
from pageopt.studies.experiments import cell
from pageopt.studies.experiments.catalog import KNOWN, STATIC, model
from pageopt.studies.experiments.figures import Share
from pageopt.studies.experiments.plans import shop
from pageopt.studies.experiments.rankers import metric_of
from pageopt.studies.experiments.tables import BEAM
from pageopt.studies.experiments.values import PageValues, write_values
from pageopt.studies.experiments.world import World, build, folder_of
from pageopt.workspace import Workspace


def run(project: Workspace, name: str, seed: int) -> None:
    """Write <model>.json and <model>.parquet of every model of the shop, below experiments/cells.

    Raises ConfigError for an unknown name, EvaluationError where a model is above what can be known.
    """
    plan = shop(project.root, name)
    models = {each: model(project.root, each) for each in plan.models}
    torch.set_num_threads(load(project.params, ExperimentsParams).threads)
    world = build(project, name, plan, seed)
    judged = {each: cell.judge(project, name, each, of, world) for each, of in models.items()}
    pages = {each: values[BEAM] for each, (_, values) in judged.items()}
    metric = metric_of(load(project.params, SearchParams))
    shared = [each for each, of in models.items() if of.learns] if {STATIC, KNOWN} <= set(pages) else []
    shares = {each: _share(world, pages, each, metric) for each in shared}

    folder = cell.folder_of(project.root, name, seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    users = (world.judged.page_id, world.judged.user_id, world.judged.ts)
    for each, (found, values) in judged.items():
        write_values(folder / f"{each}.parquet", *users, values)
        msgspec.structs.replace(found, share=shares.get(each, UNSET)).write(folder / f"{each}.json")
    shutil.rmtree(folder_of(project.root, name, seed))


def _share(world: World, pages: dict[str, PageValues], name: str, metric: Metric) -> Share:
    mine, static, known = (getattr(pages[each], metric) for each in (name, STATIC, KNOWN))
    return Share(**vars(share_of_knowable(mine, static, known, world.judged.user_id)))
