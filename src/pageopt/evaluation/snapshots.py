"""Logged policies that do not depend on context, by the probabilities that a source published (data/raw/snapshots)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pageopt.errors import EvaluationError
from pageopt.evaluation.estimate import Floats

# The name of a published policy → the contract's name of it in the log, where they differ.
_LOGGED_AS = {"bts": "thompson"}
_TOLERANCE = 1e-6


def read_snapshots(folder: Path, module_ids: Sequence[str], slots: int) -> dict[str, Floats]:
    """Probabilities `[slots, modules]` by policy, {} where `folder` does not exist.

    Raises EvaluationError where they are not probabilities, or name a module or a slot that the prepared data lacks.
    """
    if not folder.is_dir():
        return {}
    table = pq.read_table(folder).to_pydict()
    index = {module_id: place for place, module_id in enumerate(module_ids)}
    policies: dict[str, Floats] = {}
    for policy, slot, module_id, probability in zip(
        table["policy"], table["slot"], table["module_id"], table["probability"], strict=True
    ):
        if module_id not in index or not 1 <= slot <= slots:
            raise EvaluationError(
                f"{folder} has policy {policy!r} show module {module_id!r} in slot {slot}, but the prepared data has "
                f"{len(index)} modules without it, or only {slots} slots. Collect and check the log again."
            )
        policies.setdefault(policy, np.zeros((slots, len(module_ids))))[slot - 1, index[module_id]] = probability
    for policy, chances in policies.items():
        if (chances < 0).any() or (chances.sum(axis=1) > 1 + _TOLERANCE).any():
            raise EvaluationError(
                f"{folder}: the probabilities of {policy!r} in a slot must add up to 1. Collect again."
            )
    return policies


def logged_as(policy: str) -> str:
    """The contract's name of a published policy in the log."""
    return _LOGGED_AS.get(policy, policy)
