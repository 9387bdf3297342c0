"""What stage train says of the page model."""

from pageopt.artefact import Artefact
from pageopt.errors import TrainingError
from pageopt.models.common.record import Epoch
from pageopt.models.item.network_config import AboveMode, Architecture


class TrainReport(Artefact, frozen=True):
    """reports/train.json: pages by split, what was trained on them, and the losses by epoch.

    `above_choice` says why the modules above are seen or hidden, where the validation split had the choice;
    `dropped_losses` are those that the logs hold no label of, `constant_losses` those of the base rates.
    """

    ERROR = TrainingError
    MEND = "Run stage train again: dvc repro train"

    pages: dict[str, int]
    architecture: Architecture
    above: AboveMode
    above_choice: str | None
    losses: tuple[str, ...]
    dropped_losses: list[str]
    parameters: int
    constant_losses: dict[str, float]
    best_epoch: int
    epochs: list[Epoch]
