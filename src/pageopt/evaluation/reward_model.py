"""q̂(x, s, m): the chance that module m is clicked, or bought from, in slot s of page x; cross-fitted.

The estimators need a q̂ that never saw the page it scores, or its errors would be correlated with the page's rewards
and the estimates biased. Users are split into folds by a stable hash of their id (pages of unknown users by their own),
each fold has models fitted on all the others, and a page is always scored by its own fold's models, in the stage and in
every later comparison with the saved models. The models remember whom they were fitted on, and `predict` checks.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
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
from pageopt.evaluation.page_reward import PageReward
from pageopt.evaluation.reward_network import Network
from pageopt.evaluation.reward_trees import Trees
from pageopt.features.encoder import EncodedPages, Encoder
from pageopt.models.common.tabular import TabularFeatures

REWARDS = ("click", "purchase")
_KINDS: dict[str, type[Trees] | type[Network]] = {"xgboost": Trees, "mlp": Network}
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
    """q̂ by fold and reward, of boosted trees or networks. `fit` or `load` one.

    Attributes:
        policies: the logging policies whose pages the estimators use; it may have been fitted on those of more.
        page: the page-aware q̂ of the same folds, fitted on pages of `policies`; None of a log without whole pages.
    """

    def __init__(
        self,
        features: TabularFeatures,
        models: Sequence[Trees | Network],
        fitted_on: list[NDArray[np.uint64]],
        policies: tuple[str, ...],
        page: PageReward | None = None,
    ) -> None:
        self._features = features
        self._models = models
        self._fitted_on = fitted_on
        self.policies = policies
        self.page = page

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
        progress: bool = True,
    ) -> "RewardModel":
        """Fit on logged pages: `unit [pages]` from `page_units`, `module [pages, slots]` shown (-1 none).

        `rewards` holds "click" and "purchase", each `[pages, slots]` of 0 and 1. One that is the same everywhere (no
        purchase in the log) is predicted as that constant. Raises EvaluationError where a fold has no page to learn.
        """
        kind = _KINDS[params.kind]
        features = TabularFeatures.of(encoder)
        page, slot = np.nonzero(module >= 0)
        rows = features.rows(encoded, page, slot, module[page, slot])
        labels = {name: rewards[name][page, slot].astype(np.float32) for name in REWARDS}
        others = _others(unit, params.folds, page)

        def fit_fold(fitted: NDArray[np.bool_]) -> Trees | Network:
            used = fitted[page]
            return kind.fit(rows[used], {n: label[used] for n, label in labels.items()}, features.types, params, seed)

        # A thread a fold rather than several a tree: no waiting at every node, and no other figures on more cores.
        # PyTorch's number of threads is the process's, so networks come one by one.
        with ThreadPoolExecutor(max_workers=threads if kind is Trees else 1) as pool:
            fits = pool.map(fit_fold, others)
            bar = track(fits, "Reward model, folds", total=params.folds, transient=True, disable=not progress)
            models = list(bar)
        return cls(features, models, [np.unique(unit[fitted]) for fitted in others], policies)

    def predict(
        self, encoded: EncodedPages, unit: NDArray[np.uint64], module: NDArray
    ) -> dict[str, NDArray[np.float64]]:
        """{"click", "purchase"} → `[pages, slots]` of `module [pages, slots]` (any indices; -1 gives 0).

        `unit [pages]` comes from `page_units` and chooses the fold. Raises EvaluationError where a page would be scored
        by a model that was fitted on its user.
        """
        fold = fold_of(unit, self.folds)
        self.check_unseen(unit, fold)
        return self._score(encoded, module, fold)

    def predict_in_sample(
        self, encoded: EncodedPages, unit: NDArray[np.uint64], module: NDArray
    ) -> dict[str, NDArray[np.float64]]:
        """As `predict`, by models that were fitted on the page's user: for `reward_check` only, never for estimates."""
        return self._score(encoded, module, (fold_of(unit, self.folds) + 1) % self.folds)

    def _score(self, encoded: EncodedPages, module: NDArray, fold: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        if module.ndim != 2 or len(module) != len(fold) or len(encoded) != len(fold):
            raise EvaluationError(
                f"module must be [{len(fold)} pages, slots] and go with as many encoded pages; it is {module.shape}, "
                f"with {len(encoded)} encoded pages."
            )
        out = {name: np.zeros(module.shape) for name in REWARDS}
        for number, model in enumerate(self._models):
            page, slot = np.nonzero((module >= 0) & (fold == number)[:, None])
            for block in _blocks(len(page)):
                at = page[block], slot[block]
                rows = self._features.rows(encoded, *at, module[at])
                for name, chance in model.predict(rows).items():
                    out[name][at] = chance
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
        """Write reward.json, features.safetensors, units.safetensors, page.safetensors and the folds' models."""
        folder.mkdir(parents=True, exist_ok=True)
        self._features.save(folder / "features.safetensors")
        if self.page is not None:
            self.page.save(folder / "page.safetensors")
        constants = [model.save(folder, number) for number, model in enumerate(self._models)]
        content = {
            "policies": list(self.policies),
            "kind": next(name for name, kind in _KINDS.items() if isinstance(self._models[0], kind)),
            "page_aware": self.page is not None,
            "constants": constants,
        }
        (folder / "reward.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        save_file({f"fold-{i}": units for i, units in enumerate(self._fitted_on)}, folder / "units.safetensors")

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> "RewardModel":
        """Read what `save` wrote. Raises EvaluationError where it cannot."""
        try:
            content = json.loads((folder / "reward.json").read_text(encoding="utf-8"))
            units = load_file(folder / "units.safetensors")
            kind = _KINDS[content["kind"]]
            models = [
                kind.load(folder, number, constants, REWARDS, threads)
                for number, constants in enumerate(content["constants"])
            ]
            return cls(
                TabularFeatures.load(folder / "features.safetensors"),
                models,
                [units[f"fold-{number}"] for number in range(len(models))],
                tuple(content["policies"]),
                PageReward.load(folder / "page.safetensors") if content["page_aware"] else None,
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, xgboost.core.XGBoostError) as error:
            raise EvaluationError(
                f"{folder} holds no readable reward model ({error}). Run: dvc repro evaluate"
            ) from None


def fold_of(unit: NDArray[np.uint64], folds: int) -> NDArray[np.int64]:
    """The fold `[pages]` of pages of `unit [pages]`."""
    return (unit % np.uint64(folds)).astype(np.int64)


def _others(unit: NDArray[np.uint64], folds: int, page: NDArray) -> list[NDArray[np.bool_]]:
    """For each fold which pages `[pages]` its models are fitted on; `page` are those that show something."""
    fold = fold_of(unit, folds)
    others = [fold != held_out for held_out in range(folds)]
    for held_out, fitted in enumerate(others):
        if not fitted[page].any():
            raise EvaluationError(
                f"Fold {held_out} of {folds} of the reward model has nothing to learn from: all logged pages belong to "
                "it. Evaluate on pages of more users, or lower evaluate.reward_model.folds."
            )
    return others


def _blocks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _BLOCK):
        yield slice(start, start + _BLOCK)
