"""A cell's model as a ranker of its world."""

from pageopt.config import PrepareParams, SearchParams, TrainParams, load
from pageopt.models.item.heads import HEAD_OF_LOSS, HEADS, Head
from pageopt.studies.experiments.built import World
from pageopt.studies.experiments.catalog import Model
from pageopt.studies.rankers.impersonal import Impersonal
from pageopt.studies.rankers.network import NetworkRanker
from pageopt.studies.rankers.popularity import SegmentPopularity, Shuffled, Static
from pageopt.studies.rankers.ranker import Ranker


def objective_of(model: Model, search: SearchParams) -> Head:
    """The head by which pages are made: that of the search, unless the model's one loss trains another."""
    if model.network and len(model.losses) == 1:
        return HEADS[HEAD_OF_LOSS[model.losses[0]]]
    return search.objective


def ranker_of(model: Model, world: World, search: SearchParams, train: TrainParams, seed: int) -> Ranker:
    """The ranker of `model`, not fitted. `train` is read for networks."""
    encoder = world.encoder
    objective = objective_of(model, search)
    ranker: Ranker
    match model.kind:
        case "static":
            ranker = Static(encoder)
        case "random":
            ranker = Shuffled(encoder, seed=seed)
        case "segment":
            ranker = SegmentPopularity(encoder, objective="purchase" if objective == "purchase" else "click")
        case "xgboost":
            from pageopt.studies.rankers.boosted_trees import BoostedTrees, TreeParams

            losses = [loss for loss in model.losses if HEADS[HEAD_OF_LOSS[loss]] in (objective, "purchase")]
            ranker = BoostedTrees(encoder, TreeParams(seed=seed), objective=objective, losses=losses)
        case _:
            ranker = _network(model, world, search.model_copy(update={"objective": objective}), train, seed)
    knows_users = model.pf or model.kind in ("static", "random", "segment")
    return ranker if knows_users else Impersonal(ranker, encoder)


def _network(model: Model, world: World, search: SearchParams, train: TrainParams, seed: int) -> NetworkRanker:
    params = train.model_copy(
        update={
            "architecture": model.kind,
            "seed": seed,
            "losses": model.losses,
            "loss_weights": model.loss_weights,
            "slot_ips": model.ips,
            "above": model.above,
            "pairs": model.pairs,
        }
    )
    most = load(world.workspace.params, PrepareParams).slot_bias.max_weight
    return NetworkRanker(world.encoder, params, search, slot_bias=world.slot_bias, max_weight=most, single_slots=False)
