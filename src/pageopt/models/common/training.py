"""Training of a page model: Adam over pages held in memory, early stop, checkpoints that resume to the same bits.

The model that is validated and kept is the running average over the steps (pageopt.models.common.averaging). Where it
may learn two ways to look at a page (pageopt.models.common.learner.Ways), the validation split says after each epoch
which one predicts better, and that of the best epoch is kept. This is our addition to the paper.

Nothing random is left to order or time: the first weights come from the seed, the order of pages and what dropout drops
from (seed, epoch). A training killed after any epoch and started again ends with the same weights.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text
from torch import Tensor, nn

from pageopt.code import PACKAGE, closure
from pageopt.config import TrainParams
from pageopt.errors import TrainingError
from pageopt.models.common import checkpoint
from pageopt.models.common.learner import B, Learner
from pageopt.models.common.losses import constant_losses, loss_sums
from pageopt.models.common.record import Epoch, TrainingRecord
from pageopt.models.common.step import TrainingStep, part

M = TypeVar("M", bound=nn.Module)
EVALUATION_BATCH = 4096
_OTHER_WAY = 1  # tells the draw of the steps that learn it from that of the order of pages


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


def seeded(build: Callable[[], M], seed: int) -> M:
    """A model whose first weights depend on `seed` alone; the caller's random state is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def fingerprint(model: Learner[B], train: B, valid: B, params: TrainParams, watched: Sequence[str] = ()) -> str:
    """Names a training by all that its result depends on: pages, params, sizes, our code, PyTorch's version."""
    parts = [train.digest(), valid.digest(), repr(model.config), params.model_dump_json(), *watched]
    code = closure(__name__, type(model).__module__, type(train).__module__)
    parts += [(PACKAGE.parent / path).read_text(encoding="utf-8") for path in code] + [torch.__version__]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def train(
    model: Learner[B],
    train: B,
    valid: B,
    params: TrainParams,
    checkpoints: Path | None = None,
    watched: Sequence[str] = (),
) -> TrainingRecord:
    """Train `model` on all losses of its configuration; it ends with the weights of the best epoch.

    Which is the best, losses `watched` say, or where there are none all of them.
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
        run = _Run(model, train, valid, params, watched or model.config.losses)
        path = None
        if checkpoints is not None:
            path = checkpoints / f"{fingerprint(model, train, valid, params, watched)}.safetensors"
            run.resume(path)
        with _progress() as progress:
            task = progress.add_task("", total=params.epochs * len(train), valid=math.nan)
            while not run.record.finished(params):
                run.one_epoch(progress, task)
                if path is not None:
                    run.keep(path)
        model.load_state_dict(run.best)
    model.settle(run.record.best.way)
    model.eval()
    return run.record


class _Run(Generic[B]):
    """The moving parts of one training."""

    def __init__(self, model: Learner[B], train: B, valid: B, params: TrainParams, watched: Sequence[str]):
        self.model, self.train, self.valid, self.params = model, train, valid, params
        self.watched = watched
        self.ways = model.ways(params)
        self.record = TrainingRecord(constant=constant_losses(valid, train.rates()))
        self.step = TrainingStep(model, train, params)
        self.best: dict[str, Tensor] = {}

    def one_epoch(self, progress: Progress, task: TaskID) -> None:
        epoch = len(self.record.epochs) + 1
        order = torch.from_numpy(np.random.default_rng((self.params.seed, epoch)).permutation(len(self.train)))
        progress.update(task, description=f"epoch {epoch}/{self.params.epochs}", completed=(epoch - 1) * len(order))
        with torch.random.fork_rng():
            torch.manual_seed(int(np.random.SeedSequence((self.params.seed, epoch)).generate_state(1)[0]))
            mean = self._pass(epoch, order, progress, task) / (len(order) * self.step.shown)
        tried = [(*self._validate(way), way) for way in (self.ways.one, self.ways.other) if way is not None]
        (relative, valid, way), *others = sorted(tried, key=lambda each: each[0])
        result = Epoch(
            epoch=epoch,
            train=dict(zip(self.step.between.names, mean.tolist(), strict=True)),
            valid=valid,
            relative=relative,
            factors=self.step.between.factors(),
            way=way,
            otherwise=others[0][0] if others else None,
        )
        self.record.epochs.append(result)
        if self.record.best is result:
            self.best = {name: value.clone() for name, value in self.step.averaged.model.state_dict().items()}
        progress.update(task, valid=self.record.best.relative)

    def _validate(self, way: str) -> tuple[float, dict[str, float]]:
        """Validation loss of the averaged weights: of what is watched, relative to the constant's, and by loss."""
        valid = evaluate(self.step.averaged.model, self.valid, way)
        return sum(valid[name] / self.record.constant[name] for name in self.watched) / len(self.watched), valid

    def _pass(self, epoch: int, order: Tensor, progress: Progress, task: TaskID) -> Tensor:
        """Train on all pages once, in `order`; the sums of the losses `[L]`."""
        total = torch.zeros(len(self.step.between.names), dtype=torch.float64)
        self.model.train()
        steps = order.split(self.params.batch_size)
        drawn = np.random.default_rng((self.params.seed, epoch, _OTHER_WAY)).random(len(steps))
        for rows, chance in zip(steps, drawn.tolist(), strict=True):
            total += self.step(self.train.take(rows), self.ways.of_step(chance))
            progress.advance(task, len(rows))
        return total

    def keep(self, path: Path) -> None:
        """Write all that the next epoch depends on."""
        tensors = self.step.tensors() | {f"best.{name}": value for name, value in self.best.items()}
        checkpoint.write(path, tensors, {"epochs": [asdict(epoch) for epoch in self.record.epochs]})

    def resume(self, path: Path) -> None:
        """Go on from what `keep` wrote, if it wrote anything."""
        kept = checkpoint.read(path)
        if kept is None:
            return
        tensors, state = kept
        self.step.restore(tensors)
        self.best = part(tensors, "best.")
        self.record.epochs = [Epoch(**epoch) for epoch in state["epochs"]]


def evaluate(model: Learner[B], pages: B, way: str | None = None) -> dict[str, float]:
    """Mean weighted cross-entropy of what was shown, by loss of the model; see `Learner.logits` for `way`."""
    pages = pages.only(model.config.losses)
    total = torch.zeros(len(pages.labels), dtype=torch.float64)
    model.eval()
    with torch.inference_mode():
        for rows in torch.arange(len(pages)).split(EVALUATION_BATCH):
            batch = pages.take(rows)
            total += loss_sums(model.logits(batch, way), batch)
    count = torch.stack([weight.double().sum() for weight in pages.weights.values()])
    return dict(zip(pages.labels, (total / count).tolist(), strict=True))


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
