"""Training of the page model: Adam over pages held in memory, early stop, checkpoints that resume to the same bits.

The model that is validated and kept is the running average over the steps (pageopt.models.common.averaging).

With train.above = auto it learns, from a share of the steps, to do without the modules above; the validation split
says which way it predicts better, and so it is kept. Where modules do not act on each other, seeing them costs quality:
what it learns of them is noise, and the search picks the pages that noise makes look good. This is our addition to the
paper.

Nothing random is left to order or time: the first weights come from the seed, the order of pages and what dropout drops
from (seed, epoch). A training killed after any epoch and started again ends with the same weights.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text
from torch import Tensor

from pageopt.code import PACKAGE, closure
from pageopt.config import TrainParams
from pageopt.errors import TrainingError
from pageopt.models.common import checkpoint
from pageopt.models.common.averaging import Average
from pageopt.models.common.losses import LossWeights, masked_cross_entropy
from pageopt.models.item.data import PageTensors
from pageopt.models.item.heads import HEAD_OF_LOSS
from pageopt.models.item.network import PageNetwork
from pageopt.models.item.network_config import AboveMode

EVALUATION_BATCH = 4096
_HIDING = 1  # tells the draw of steps that see nothing above from that of the order of pages


@dataclass(frozen=True)
class Epoch:
    """One pass over the training pages. Losses are cross-entropies of a shown slot, by name.

    `train` is that of the weights during the pass, `valid` of their average after it. `relative` is the mean over
    losses of the validation loss divided by that of a constant prediction, the number early stop watches: below 1 the
    model knows more than the base rates. It does not move with the learned weights between losses, as a total would.
    Both are of the better `above`; `otherwise` is the relative loss with the other one, None where one alone was
    tried.
    """

    epoch: int
    train: dict[str, float]
    valid: dict[str, float]
    relative: float
    factors: dict[str, float]
    above: AboveMode
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


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Deterministic kernels on a set number of threads; what was set before comes back afterwards."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def seeded(build: Callable[[], PageNetwork], seed: int) -> PageNetwork:
    """A model whose first weights depend on `seed` alone; the caller's random state is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def fingerprint(model: PageNetwork, train: PageTensors, valid: PageTensors, params: TrainParams) -> str:
    """Names a training by all that its result depends on: pages, params, sizes, our code, PyTorch's version."""
    parts = [train.digest(), valid.digest(), json.dumps(asdict(model.config)), params.model_dump_json()]
    code = closure(__name__, type(model).__module__, type(train).__module__)
    parts += [(PACKAGE.parent / path).read_text(encoding="utf-8") for path in code] + [torch.__version__]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def train(
    model: PageNetwork, train: PageTensors, valid: PageTensors, params: TrainParams, checkpoints: Path | None = None
) -> TrainingRecord:
    """Train `model` on all losses of its configuration; it ends with the weights of the best epoch.

    With `checkpoints`, a folder, each epoch is kept there under the fingerprint of this training, and the next call
    with the same pages and params goes on from it. Raises TrainingError on a loss that is not a number, and for bf16
    on a processor that lacks it.
    """
    train, valid = train.only(model.config.losses), valid.only(model.config.losses)
    rates = train.rates()
    dead = sorted(name for name, rate in rates.items() if not 0 < rate < 1)
    if dead or not rates:
        raise TrainingError(
            f"Losses {dead or list(rates)} cannot be trained: their labels are all the same. "
            "Take them out of train.losses, or collect more logs."
        )
    model.start_from(rates)
    with reproducible(params.threads):
        if params.bf16:
            _try_bf16(model, train)
        run = _Run(model, train, valid, params, rates)
        path = None
        if checkpoints is not None:
            path = checkpoints / f"{fingerprint(model, train, valid, params)}.safetensors"
            run.resume(path)
        with _progress() as progress:
            task = progress.add_task("", total=params.epochs * len(train), valid=math.nan)
            while not run.record.finished(params):
                run.one_epoch(progress, task)
                if path is not None:
                    run.keep(path)
        model.load_state_dict(run.best)
    if run.record.best.above == "hidden":
        model.hide_above()
    model.eval()
    return run.record


def _try_bf16(model: PageNetwork, pages: PageTensors) -> None:
    """One page there and back, since no list of processors says which layers they can do. Raises TrainingError."""
    try:
        with torch.random.fork_rng(), torch.autocast("cpu", dtype=torch.bfloat16):
            model(*pages.take(torch.arange(1)).inputs()).float().sum().backward()
    except RuntimeError as error:
        raise TrainingError(
            f"This processor cannot train the {model.config.architecture} in bf16 ({error}). Set train.bf16 to false."
        ) from error
    model.zero_grad()


class _Run:
    """The moving parts of one training."""

    def __init__(
        self,
        model: PageNetwork,
        train: PageTensors,
        valid: PageTensors,
        params: TrainParams,
        rates: Mapping[str, float],
    ):
        self.model, self.train, self.valid, self.params = model, train, valid, params
        self.slots_shown = train.slots_shown()
        self.both = params.above == "auto" and model.config.above == "chosen"
        self.record = TrainingRecord(constant=_constant_losses(valid, rates))
        self.between = LossWeights(_constant_losses(train, rates), learned=params.loss_weights == "learned")
        groups: list[dict] = [{"params": [*model.parameters()], "weight_decay": params.weight_decay}]
        if self.between.s.requires_grad:
            groups.append({"params": [self.between.s], "weight_decay": 0.0})
        self.optimizer = torch.optim.Adam(groups, lr=params.learning_rate, fused=True)
        self.averaged = Average(model, params.averaging)
        self.best: dict[str, Tensor] = {}

    def one_epoch(self, progress: Progress, task: TaskID) -> None:
        epoch = len(self.record.epochs) + 1
        order = torch.from_numpy(np.random.default_rng((self.params.seed, epoch)).permutation(len(self.train)))
        progress.update(task, description=f"epoch {epoch}/{self.params.epochs}", completed=(epoch - 1) * len(order))
        with torch.random.fork_rng():
            torch.manual_seed(int(np.random.SeedSequence((self.params.seed, epoch)).generate_state(1)[0]))
            mean = self._pass(epoch, order, progress, task) / (len(order) * self.slots_shown)
        names = self.between.names
        ways: tuple[AboveMode, ...] = ("chosen", "hidden") if self.both else (self.model.config.above,)
        tried = [(*self._validate(way), way) for way in ways]
        (relative, valid, way), *others = sorted(tried, key=lambda each: each[0])
        result = Epoch(
            epoch=epoch,
            train=dict(zip(names, mean.tolist(), strict=True)),
            valid=valid,
            relative=relative,
            factors=self.between.factors(),
            above=way,
            otherwise=others[0][0] if others else None,
        )
        self.record.epochs.append(result)
        if self.record.best is result:
            self.best = {name: value.clone() for name, value in self.averaged.model.state_dict().items()}
        progress.update(task, valid=self.record.best.relative)

    def _validate(self, way: AboveMode) -> tuple[float, dict[str, float]]:
        """Validation loss of the averaged weights, relative to the constant's and by loss."""
        valid = evaluate(self.averaged.model, self.valid, hidden=way == "hidden")
        return sum(valid[name] / self.record.constant[name] for name in valid) / len(valid), valid

    def _pass(self, epoch: int, order: Tensor, progress: Progress, task: TaskID) -> Tensor:
        """Train on all pages once, in `order`; the sums of the losses `[L]`."""
        total = torch.zeros(len(self.between.names), dtype=torch.float64)
        self.model.train()
        steps = order.split(self.params.batch_size)
        share = self.params.above_dropout if self.both else 0.0
        without = np.random.default_rng((self.params.seed, epoch, _HIDING)).random(len(steps)) < share
        for rows, hidden in zip(steps, without.tolist(), strict=True):
            batch = self.train.take(rows)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.params.bf16):
                logits = self.model(*batch.inputs(), hidden=hidden).float()
            sums = _loss_sums(logits, batch)
            loss = self.between(sums / (len(rows) * self.slots_shown))
            if not math.isfinite(loss.item()):
                raise TrainingError(
                    f"The loss became {loss.item()} in epoch {epoch}. Lower train.learning_rate "
                    f"(now {self.params.learning_rate}), turn train.bf16 off, or look for extreme feature values."
                )
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.averaged.update_parameters(self.model)
            total += sums.detach()
            progress.advance(task, len(rows))
        return total

    def keep(self, path: Path) -> None:
        """Write all that the next epoch depends on."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"averaged.{name}": value for name, value in self.averaged.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        tensors["between.s"] = self.between.s.detach()
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": value for name, value in state.items()}
        checkpoint.write(path, tensors, {"epochs": [asdict(epoch) for epoch in self.record.epochs]})

    def resume(self, path: Path) -> None:
        """Go on from what `keep` wrote, if it wrote anything."""
        kept = checkpoint.read(path)
        if kept is None:
            return
        tensors, state = kept

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        self.averaged.load_state_dict(part("averaged."))
        self.best = part("best.")
        with torch.no_grad():
            self.between.s.copy_(tensors["between.s"])
        adam: dict[int, dict[str, Tensor]] = {}
        for name, value in part("adam.").items():
            index, key = name.split(".")
            adam.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": adam})
        self.record.epochs = [Epoch(**epoch) for epoch in state["epochs"]]


def evaluate(model: PageNetwork, pages: PageTensors, *, hidden: bool = False) -> dict[str, float]:
    """Mean weighted cross-entropy of a shown slot, by loss of the model; see `PageNetwork.forward` for `hidden`."""
    pages = pages.only(model.config.losses)
    total = torch.zeros(len(pages.labels), dtype=torch.float64)
    model.eval()
    with torch.inference_mode():
        for rows in torch.arange(len(pages)).split(EVALUATION_BATCH):
            batch = pages.take(rows)
            total += _loss_sums(model(*batch.inputs(), hidden=hidden), batch)
    count = torch.stack([weight.double().sum() for weight in pages.weights.values()])
    return dict(zip(pages.labels, (total / count).tolist(), strict=True))


def _loss_sums(logits: Tensor, batch: PageTensors) -> Tensor:
    """Weighted sum `[L]` of each loss over a batch, from logits `[B, K, Q]`."""
    return torch.stack(
        [
            masked_cross_entropy(logits[..., HEAD_OF_LOSS[name]], label, batch.weights[name])
            for name, label in batch.labels.items()
        ]
    )


def _constant_losses(pages: PageTensors, rates: Mapping[str, float]) -> dict[str, float]:
    """Mean weighted cross-entropy by loss of predicting `rates` everywhere."""
    result = {}
    for name, weight in pages.weights.items():
        mean = float((pages.labels[name].double() * weight).sum() / weight.double().sum())
        result[name] = -mean * math.log(rates[name]) - (1 - mean) * math.log1p(-rates[name])
    return result


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        _PagesPerSecond(),
        TextColumn("validation loss {task.fields[valid]:.4f} of the constant's"),
        TimeRemainingColumn(),
    )


class _PagesPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:,.0f} pages/s")
