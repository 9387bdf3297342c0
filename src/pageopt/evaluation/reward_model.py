"""q̂(x, s, m): the chance that module m is clicked, or bought from, in slot s of page x; cross-fitted.

The estimators need a q̂ that never saw the page it scores, or its errors would be correlated with the page's rewards
and the estimates biased. Users are split into folds by a stable hash of their id (pages of unknown users by their own),
each fold has models fitted on all the others, and a page is always scored by its own fold's models, in the stage and in
every later comparison with the saved models. The models remember whom they were fitted on, and `predict` checks.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import xgboost
from numpy.typing import NDArray
from rich.progress import track
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pageopt.config import RewardModelParams
from pageopt.errors import EvaluationError
from pageopt.features.encoder import EncodedPages, Encoder
from pageopt.models.tabular import TabularFeatures

REWARDS = ("click", "purchase")
_BLOCK = 200_000  # rows scored at a time, some 40 MB


def page_units(user_id: NDArray, page_id: NDArray) -> NDArray[np.uint64]:
    """64-bit hash `[pages]` of what must not be split between folds: the user, or the page where that is null."""
    keys = {}
    units = np.empty(len(page_id), dtype=np.uint64)
    for row, (user, page) in enumerate(zip(user_id, page_id, strict=True)):
        key = f"page {page}" if user is None or user != user else f"user {user}"
        if key not in keys:
            keys[key] = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
        units[row] = keys[key]
    return units


class RewardModel:
    """Boosted trees by fold and reward. `fit` or `load` one.

    `policies` are the logging policies whose pages the estimators use; it may have been fitted on those of more.
    """

    def __init__(
        self,
        features: TabularFeatures,
        models: list[dict[str, "xgboost.Booster | float"]],
        fitted_on: list[NDArray[np.uint64]],
        policies: tuple[str, ...],
        threads: int,
    ) -> None:
        self._features = features
        self._models = models
        self._fitted_on = fitted_on
        self.policies = policies
        self._threads = threads

    @property
    def folds(self) -> int:
        """Number of folds."""
        return len(self._models)

    @classmethod
    def fit(
        cls,
        encoder: Encoder,
        encoded: EncodedPages,
        unit: NDArray[np.uint64],
        module: NDArray,
        rewards: dict[str, NDArray],
        params: RewardModelParams,
        *,
        policies: tuple[str, ...],
        seed: int,
        threads: int,
    ) -> "RewardModel":
        """Fit on logged pages: `unit [pages]` from `page_units`, `module [pages, slots]` shown (-1 none).

        `rewards` holds "click" and "purchase", each `[pages, slots]` of 0 and 1. One that is the same everywhere (no
        purchase in the log) is predicted as that constant. Raises EvaluationError where a fold has no page to learn.
        """
        features = TabularFeatures.of(encoder)
        fold = _fold_of(unit, params.folds)
        page, slot = np.nonzero(module >= 0)
        rows = features.rows(encoded, page, slot, module[page, slot])
        labels = {name: rewards[name][page, slot].astype(np.float32) for name in REWARDS}
        others = [fold != held_out for held_out in range(params.folds)]
        for held_out, fitted in enumerate(others):
            if not fitted[page].any():
                raise EvaluationError(
                    f"Fold {held_out} of {params.folds} of the reward model has nothing to learn from: all logged "
                    "pages belong to it. Evaluate on pages of more users, or lower evaluate.reward_model.folds."
                )

        def fit_fold(fitted: NDArray[np.bool_]) -> dict[str, xgboost.Booster | float]:
            used = fitted[page]
            return _fit_fold(rows[used], {n: label[used] for n, label in labels.items()}, features.types, params, seed)

        # A thread a fold rather than several a tree: no waiting at every node, and no other figures on more cores.
        with ThreadPoolExecutor(max_workers=threads) as pool:
            fits = pool.map(fit_fold, others)
            models = list(track(fits, description="Reward model, folds", total=params.folds, transient=True))
        fitted_on = [np.unique(unit[fitted]) for fitted in others]
        return cls(features, models, fitted_on, policies, threads)

    def predict(
        self, encoded: EncodedPages, unit: NDArray[np.uint64], module: NDArray
    ) -> dict[str, NDArray[np.float64]]:
        """{"click", "purchase"} → `[pages, slots]` of `module [pages, slots]` (any indices; -1 gives 0).

        `unit [pages]` comes from `page_units` and chooses the fold. Raises EvaluationError where a page would be scored
        by a model that was fitted on its user.
        """
        if module.ndim != 2 or len(module) != len(unit) or len(encoded) != len(unit):
            raise EvaluationError(
                f"module must be [{len(unit)} pages, slots] and go with as many encoded pages; it is {module.shape}, "
                f"with {len(encoded)} encoded pages."
            )
        fold = _fold_of(unit, self.folds)
        self.check_unseen(unit, fold)
        out = {name: np.zeros(module.shape) for name in REWARDS}
        for number, models in enumerate(self._models):
            page, slot = np.nonzero((module >= 0) & (fold == number)[:, None])
            for block in _blocks(len(page)):
                at = page[block], slot[block]
                rows = self._features.rows(encoded, *at, module[at])
                for name, model in models.items():
                    out[name][at] = model if isinstance(model, float) else model.inplace_predict(rows)
        return out

    def check_unseen(self, unit: NDArray[np.uint64], fold: NDArray[np.int64]) -> None:
        """Raise EvaluationError where models of a page's `fold [pages]` were fitted on its `unit [pages]`."""
        for number, fitted_on in enumerate(self._fitted_on):
            seen = np.isin(unit[fold == number], fitted_on)
            if seen.any():
                raise EvaluationError(
                    f"{int(seen.sum())} pages would be scored by reward models of fold {number} that were fitted on "
                    "their users, which biases every estimate. Make the models anew: dvc repro --force evaluate"
                )

    def save(self, folder: Path) -> None:
        """Write reward.json, features.safetensors, units.safetensors and one JSON file a fold and reward."""
        folder.mkdir(parents=True, exist_ok=True)
        constants = [{n: m for n, m in models.items() if isinstance(m, float)} for models in self._models]
        content = {"policies": list(self.policies), "constants": constants}
        (folder / "reward.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        self._features.save(folder / "features.safetensors")
        save_file({f"fold-{i}": units for i, units in enumerate(self._fitted_on)}, folder / "units.safetensors")
        for number, models in enumerate(self._models):
            for name, model in models.items():
                if not isinstance(model, float):
                    model.save_model(folder / f"{name}-{number}.json")

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> "RewardModel":
        """Read what `save` wrote. Raises EvaluationError where it cannot."""
        try:
            content = json.loads((folder / "reward.json").read_text(encoding="utf-8"))
            units = load_file(folder / "units.safetensors")
            models: list[dict[str, xgboost.Booster | float]] = []
            for number, constants in enumerate(content["constants"]):
                models.append(
                    {
                        name: constants[name] if name in constants else _read(folder / f"{name}-{number}.json", threads)
                        for name in REWARDS
                    }
                )
            return cls(
                TabularFeatures.load(folder / "features.safetensors"),
                models,
                [units[f"fold-{number}"] for number in range(len(models))],
                tuple(content["policies"]),
                threads,
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, xgboost.core.XGBoostError) as error:
            raise EvaluationError(
                f"{folder} holds no readable reward model ({error}). Run: dvc repro evaluate"
            ) from None


def _fold_of(unit: NDArray[np.uint64], folds: int) -> NDArray[np.int64]:
    return (unit % np.uint64(folds)).astype(np.int64)


def _blocks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _BLOCK):
        yield slice(start, start + _BLOCK)


def _read(file: Path, threads: int) -> xgboost.Booster:
    return xgboost.Booster(params={"nthread": threads}, model_file=file)


def _fit_fold(
    rows: NDArray[np.float32],
    labels: dict[str, NDArray[np.float32]],
    types: list[str],
    params: RewardModelParams,
    seed: int,
) -> dict[str, xgboost.Booster | float]:
    settings = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": params.depth,
        "eta": params.learning_rate,
        "max_bin": 64,
        # In units of p(1 − p): a leaf needs some 100 impressions at 5 % clicks. Thin logs get few splits, no wild ones.
        "min_child_weight": 5.0,
        "nthread": 1,
        "seed": seed,
    }
    data = None
    models: dict[str, xgboost.Booster | float] = {}
    for name, label in labels.items():
        rate = float(label.mean(dtype=np.float64))
        if rate in (0.0, 1.0):
            models[name] = rate
            continue
        if data is None:  # binning costs as much as many rounds; both rewards share it
            data = xgboost.QuantileDMatrix(
                rows, label, feature_types=types, enable_categorical=True, max_bin=64, nthread=1
            )
        data.set_info(label=label)
        models[name] = xgboost.train({**settings, "base_score": rate}, data, params.rounds)
    return models
