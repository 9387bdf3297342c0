"""The reward model's network: embeddings of categoricals, two hidden layers, one logit a reward.

It reads the rows that the trees read. Where a click depends smoothly on many columns it can do with fewer pages.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pageopt.config import RewardModelParams
from pageopt.evaluation.estimate import Floats

_EMBEDDING = 8
_STEPS = 100  # of an epoch: small logs take small batches, large ones up to _MOST rows at a time
_LEAST, _MOST = 64, 2048


class _Layers(nn.Module):
    """Rows to logits; what it knows of the columns is in its buffers, so that a file of tensors holds all of it."""

    def __init__(self, columns: NDArray[np.int64], cardinalities: NDArray[np.int64], width: int, outputs: int) -> None:
        """`columns`: 1 where a column is categorical, with the next of `cardinalities` codes."""
        super().__init__()
        numerics = int((columns == 0).sum())
        self.register_buffer("columns", torch.from_numpy(columns))
        self.register_buffer("cardinalities", torch.from_numpy(cardinalities))
        self.register_buffer("mean", torch.zeros(numerics))
        self.register_buffer("scale", torch.ones(numerics))
        # One table for all columns; the last code of each is for values that the fit has not seen.
        self.embedding = nn.Embedding(int((cardinalities + 1).sum()), _EMBEDDING)
        sizes = [_EMBEDDING * len(cardinalities) + numerics, width, width]
        self.first, self.second = (nn.Linear(a, b) for a, b in pairwise(sizes))
        self.out = nn.Linear(width, outputs)

    def inputs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Places in the table `[rows, categoricals]` and standardised numerics."""
        columns, cardinalities = self.get_buffer("columns").bool(), self.get_buffer("cardinalities")
        codes = torch.minimum(rows[:, columns].long(), cardinalities)
        first = torch.cumsum(cardinalities + 1, 0) - cardinalities - 1
        return codes + first, (rows[:, ~columns] - self.get_buffer("mean")) / self.get_buffer("scale")

    def forward(self, places: Tensor, numerics: Tensor) -> Tensor:
        state = torch.cat([self.embedding(places).flatten(1), numerics], dim=1)
        for layer in (self.first, self.second):
            state = torch.relu(layer(state))
        logits: Tensor = self.out(state)
        return logits


class Network:
    """One network for all rewards; a reward that was the same on every row is that constant."""

    def __init__(self, layers: _Layers | None, names: tuple[str, ...], constants: dict[str, float]) -> None:
        self._layers = layers
        self._names = names
        self._constants = constants

    @classmethod
    def fit(
        cls,
        rows: NDArray[np.float32],
        labels: dict[str, NDArray[np.float32]],
        types: list[str],
        params: RewardModelParams,
        seed: int,
    ) -> "Network":
        """Fit on `rows [rows, columns]` of `types`, "c" or "q" a column, and `labels` of 0 and 1, `[rows]` a reward."""
        rates = {name: float(label.mean(dtype=np.float64)) for name, label in labels.items()}
        constants = {name: rate for name, rate in rates.items() if rate in (0.0, 1.0)}
        names = tuple(name for name in labels if name not in constants)
        if not names:
            return cls(None, names, constants)
        columns = np.array([kind == "c" for kind in types], dtype=np.int64)
        cardinalities = rows[:, columns == 1].max(axis=0).astype(np.int64) + 1
        layers = _Layers(columns, cardinalities, params.network.width, len(names))
        numerics = rows[:, columns == 0]
        spread = numerics.std(axis=0)
        layers.get_buffer("mean").copy_(torch.from_numpy(numerics.mean(axis=0)))
        layers.get_buffer("scale").copy_(torch.from_numpy(np.where(spread > 0, spread, 1)))
        generator = torch.Generator().manual_seed(seed)
        _start(layers, [rates[name] for name in names], generator)
        targets = torch.from_numpy(np.stack([labels[name] for name in names], axis=1))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums in one order: the same figures on any machine's number of cores
        try:
            _train(layers, torch.from_numpy(rows), targets, params, generator)
        finally:
            torch.set_num_threads(threads)
        return cls(layers, names, constants)

    def predict(self, rows: NDArray[np.float32]) -> dict[str, Floats]:
        """Probability `[rows]` of each reward."""
        probability = {name: np.full(len(rows), rate) for name, rate in self._constants.items()}
        if self._layers is not None:
            with torch.inference_mode():
                logits = self._layers(*self._layers.inputs(torch.from_numpy(rows)))
                chances = torch.sigmoid(logits).numpy().astype(np.float64)
            probability |= {name: chances[:, place] for place, name in enumerate(self._names)}
        return probability

    def save(self, folder: Path, number: int) -> dict[str, float]:
        """Write the tensors, and return the constants."""
        if self._layers is not None:
            save_file(self._layers.state_dict(), folder / f"network-{number}.safetensors")
        return dict(self._constants)

    @classmethod
    def load(
        cls, folder: Path, number: int, constants: dict[str, float], rewards: tuple[str, ...], threads: int
    ) -> "Network":
        """Read what `save` wrote; `threads` are those of PyTorch, set elsewhere."""
        names = tuple(name for name in rewards if name not in constants)
        if not names:
            return cls(None, names, constants)
        tensors = load_file(folder / f"network-{number}.safetensors")
        width = len(tensors["out.weight"][0])
        layers = _Layers(tensors["columns"].numpy(), tensors["cardinalities"].numpy(), width, len(names))
        layers.load_state_dict(tensors)
        return cls(layers, names, constants)


def _start(layers: _Layers, rates: list[float], generator: torch.Generator) -> None:
    """First weights from a generator of their own: folds are fitted beside other users of PyTorch's."""
    with torch.no_grad():
        layers.embedding.weight.normal_(0, 0.05, generator=generator)
        for layer in (layers.first, layers.second):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
            layer.bias.zero_()
        layers.out.weight.zero_()  # every row begins at the mean reward
        layers.out.bias.copy_(torch.logit(torch.tensor(rates)))


def _train(
    layers: _Layers, rows: Tensor, targets: Tensor, params: RewardModelParams, generator: torch.Generator
) -> None:
    places, numerics = layers.inputs(rows)
    settings = params.network
    optimizer = torch.optim.AdamW(
        layers.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    batch_size = min(max(len(rows) // _STEPS, _LEAST), _MOST)
    for _ in range(settings.epochs):
        for batch in torch.randperm(len(rows), generator=generator).split(batch_size):
            optimizer.zero_grad()
            logits = layers(places[batch], numerics[batch])
            # The sum over rewards: purchases are rare, and their mean among clicks would weigh next to nothing.
            loss = (
                nn.functional.binary_cross_entropy_with_logits(logits, targets[batch], reduction="none").sum(1).mean()
            )
            loss.backward()
            optimizer.step()
