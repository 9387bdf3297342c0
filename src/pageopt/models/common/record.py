"""How a training went, epoch by epoch."""

from dataclasses import dataclass, field

from pageopt.config import TrainParams


@dataclass(frozen=True)
class Epoch:
    """One pass over the training pages. Losses are cross-entropies of a shown slot, by name.

    `train` is that of the weights during the pass, `valid` of their average after it. `relative` is the mean over
    the losses watched of the validation loss divided by that of a constant prediction, the number early stop goes by:
    below 1 the model knows more than the base rates. It does not move with the learned weights between losses, as a
    total would. Both are of the better `way`; `otherwise` is the relative loss of the other one, None where one alone
    was tried.
    """

    epoch: int
    train: dict[str, float]
    valid: dict[str, float]
    relative: float
    factors: dict[str, float]
    way: str
    otherwise: float | None


@dataclass
class TrainingRecord:
    """How a training went; `best` is the epoch whose weights the model holds."""

    constant: dict[str, float]
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def best(self) -> Epoch:
        """The epoch of the lowest relative validation loss, the earliest of equals."""
        return min(self.epochs, key=lambda epoch: epoch.relative)

    def finished(self, params: TrainParams) -> bool:
        """Whether all epochs are done, or none of the last `patience` was the best."""
        done = len(self.epochs)
        return done >= params.epochs or (done > 0 and done - self.best.epoch >= params.patience)
