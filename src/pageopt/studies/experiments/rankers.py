"""A cell's model as a ranker of its world."""

import msgspec

from pageopt.config import PrepareParams, SearchParams, TrainParams, load
from pageopt.evaluation.policy_value import Metric
from pageopt.features.slot_bias import SlotBias
from pageopt.models.item.heads import HEAD_OF_LOSS, HEADS, Head
from pageopt.simulator.oracle import Objective
from pageopt.studies.experiments.catalog import Model
from pageopt.studies.experiments.world import World
from pageopt.studies.rankers.impersonal import Impersonal, of_strangers
from pageopt.studies.rankers.network import NetworkRanker
from pageopt.studies.rankers.popularity import SegmentPopularity, Shuffled, Static
from pageopt.studies.rankers.ranker import Ranker
from pageopt.studies.rankers.slot_blind import SlotBlind


def objective_of(model: Model, search: SearchParams) -> Head:
    """The head by which pages are made: that of the search, unless the model's one loss trains another."""
    if model.network and len(model.losses) == 1:
        return HEADS[HEAD_OF_LOSS[model.losses[0]]]
    return search.objective


def earned_by(objective: Head) -> Objective:
    """What pages made by a head are to earn."""
    return "purchase" if objective == "purchase" else "click"


def metric_of(search: SearchParams) -> Metric:
    """What pages made by the search are judged by."""
    return "ptr" if earned_by(search.objective) == "purchase" else "ctr"


def ranker_of(model: Model, world: World, search: SearchParams, train: TrainParams) -> Ranker:
    """The ranker of `model`, not fitted. `train` is read for networks."""
    encoder = world.encoder
    objective = objective_of(model, search)
    ranker: Ranker
    match model.kind:
        case "static":
            ranker = Static(encoder)
        case "random":
            ranker = Shuffled(encoder, seed=world.seed)
        case "segment":
            ranker = SegmentPopularity(encoder, objective=earned_by(objective))
        case "xgboost":
            from pageopt.studies.rankers.boosted_trees import BoostedTrees, TreeParams

            losses = [loss for loss in model.losses if HEADS[HEAD_OF_LOSS[loss]] in (objective, "purchase")]
            ranker = BoostedTrees(encoder, TreeParams(seed=world.seed), objective=objective, losses=losses)
        case _:
            ranker = _network(model, world, search.model_copy(update={"objective": objective}), train)
    if model.pf == "strangers":
        return Impersonal(ranker, encoder, of_strangers)
    knows_users = model.pf or model.kind in ("static", "random", "segment")
    return ranker if knows_users else Impersonal(ranker, encoder)


def _network(model: Model, world: World, search: SearchParams, train: TrainParams) -> Ranker:
    params = train.model_copy(
        update={
            "architecture": model.kind,
            "seed": world.seed,
            "losses": model.losses,
            "loss_weights": model.loss_weights,
            "slot_ips": bool(model.ips) and not model.slot_blind,
            "above": model.above,
            "pairs": model.pairs and not model.slot_blind,
        }
    )
    bias = _inverted(world.slot_bias) if model.ips == "inverted" else world.slot_bias
    most = load(world.workspace.params, PrepareParams).slot_bias.max_weight
    ranker = NetworkRanker(
        world.encoder, params, search, slot_bias=bias, max_weight=most, single_slots=model.slot_blind
    )
    if not model.slot_blind:
        return ranker
    used = bias if model.ips else None
    return SlotBlind(ranker, world.encoder, search.objective, used, most, on_labels=model.ips == "labels")


def _inverted(bias: SlotBias) -> SlotBias:
    """Weights θ in place of 1/θ: slots that are seldom looked at count less, a control of what the weights do."""
    curves = {
        kind: {name: [1 / max(theta, 1e-3) for theta in curve] for name, curve in getattr(bias, kind).items()}
        for kind in ("click", "purchase")
    }
    return msgspec.structs.replace(bias, **curves)
