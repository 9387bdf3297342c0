"""From the tensors of a log to a trained page network: the one path of pipeline, search for params and rankers."""

from functools import partial
from pathlib import Path

from pageopt.config import TrainParams
from pageopt.errors import TrainingError
from pageopt.features.encoder import Encoder
from pageopt.models.common.training import TrainingRecord, seeded, train
from pageopt.models.item.data import PageTensors
from pageopt.models.item.heads import HEAD_OF_LOSS, HEADS, Head
from pageopt.models.item.network import PageNetwork, above_mode


def fit(
    encoder: Encoder,
    params: TrainParams,
    pages: PageTensors,
    valid: PageTensors,
    *,
    single_slots: bool,
    objective: Head | None = None,
    checkpoints: Path | None = None,
) -> tuple[PageNetwork, TrainingRecord]:
    """The network that `params` describe, trained on those losses of `pages` that have a positive label.

    Args:
        encoder: the fields and modules of the pages.
        params: architecture, size and optimiser; the same params and pages give the same bits.
        pages, valid: what it learns from, and what says when to stop, with the labels of the same losses.
        single_slots: whether the logs show single slots instead of whole pages; see `above_mode`.
        objective: the head that pages are made by, whose losses early stop watches; None, or without one: all losses.
        checkpoints: a folder from which a training that was killed goes on; see `training.train`.

    Raises TrainingError where no loss has a positive label, and as `above_mode` and `training.train` do.
    """
    losses = tuple(name for name, rate in pages.rates().items() if rate > 0)
    if not losses:
        raise TrainingError(
            f"None of train.losses {list(pages.labels)} has a single positive label on {len(pages):,} training pages. "
            "Collect more logs, or choose losses that your logs hold."
        )
    above = above_mode(params, single_slots=single_slots)
    model = seeded(partial(PageNetwork.from_encoder, encoder, params, above, losses), params.seed)
    watched = tuple(name for name in losses if objective and HEADS[HEAD_OF_LOSS[name]] == objective)
    return model, train(model, pages, valid, params, checkpoints, watched)
