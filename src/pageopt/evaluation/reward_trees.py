"""The reward model's boosted trees: one XGBoost model a reward, fitted on the rows of one fold's other folds."""

from pathlib import Path

import numpy as np
import xgboost
from numpy.typing import NDArray

from pageopt.config import RewardModelParams
from pageopt.evaluation.estimate import Floats
from pageopt.models.common.tabular import TREES


class Trees:
    """Boosted trees by reward; a reward that was the same on every row is that constant."""

    def __init__(self, models: "dict[str, xgboost.Booster | float]") -> None:
        self._models = models

    @classmethod
    def fit(
        cls,
        rows: NDArray[np.float32],
        labels: dict[str, NDArray[np.float32]],
        types: list[str],
        params: RewardModelParams,
        seed: int,
    ) -> "Trees":
        """Fit on `rows [rows, columns]` of `types`, "c" or "q" a column, and `labels` of 0 and 1, `[rows]` a reward."""
        settings = TREES | {"max_depth": params.depth, "eta": params.learning_rate, "nthread": 1, "seed": seed}
        data = None
        models: dict[str, xgboost.Booster | float] = {}
        for name, label in labels.items():
            rate = float(label.mean(dtype=np.float64))
            if rate in (0.0, 1.0):
                models[name] = rate
                continue
            if data is None:  # binning costs as much as many rounds; both rewards share it
                data = xgboost.QuantileDMatrix(
                    rows, label, feature_types=types, enable_categorical=True, max_bin=TREES["max_bin"], nthread=1
                )
            data.set_info(label=label)
            models[name] = xgboost.train({**settings, "base_score": rate}, data, params.rounds)
        return cls(models)

    def predict(self, rows: NDArray[np.float32]) -> dict[str, Floats]:
        """Probability `[rows]` of each reward."""
        return {
            name: np.full(len(rows), model) if isinstance(model, float) else model.inplace_predict(rows)
            for name, model in self._models.items()
        }

    def save(self, folder: Path, number: int) -> dict[str, float]:
        """Write a JSON file a reward, and return the constants."""
        for name, model in self._models.items():
            if not isinstance(model, float):
                model.save_model(folder / f"{name}-{number}.json")
        return {name: model for name, model in self._models.items() if isinstance(model, float)}

    @classmethod
    def load(
        cls, folder: Path, number: int, constants: dict[str, float], rewards: tuple[str, ...], threads: int
    ) -> "Trees":
        """Read what `save` wrote."""
        return cls(
            {
                name: constants[name] if name in constants else _read(folder / f"{name}-{number}.json", threads)
                for name in rewards
            }
        )


def _read(file: Path, threads: int) -> xgboost.Booster:
    return xgboost.Booster(params={"nthread": threads}, model_file=file)
