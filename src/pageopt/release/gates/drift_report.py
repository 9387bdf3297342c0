"""The drift report for people: Evidently, on few columns, as a page of its own."""

from pathlib import Path

import numpy as np
import pandas as pd

from pageopt.policies.decision import Decision
from pageopt.release.gates.drift import SCORES

_SLOTS_SHOWN = 3


def _frame(decision: Decision, families: np.ndarray) -> pd.DataFrame:
    """One row a page: score of the page, scores and family of the first slots."""
    columns: dict[str, np.ndarray] = {"page score": decision.score.astype(float)}
    for slot in range(min(_SLOTS_SHOWN, decision.modules.shape[1])):
        shown = decision.modules[:, slot] >= 0
        for name, index in SCORES:
            columns[f"{name} score, slot {slot + 1}"] = np.where(
                shown, decision.probabilities[:, slot, index].astype(float), np.nan
            )
        columns[f"family, slot {slot + 1}"] = np.where(shown, families[decision.modules[:, slot]], "")
    frame = pd.DataFrame(columns)
    return frame.dropna(axis="columns", how="all")


def write(path: Path, candidate: Decision, champion: Decision, family_names: np.ndarray) -> None:
    """Write the page `path`. `family_names` [M]: the family of each module by name."""
    from evidently import DataDefinition, Dataset, Report  # ten seconds to import: only where there is a champion
    from evidently.presets import DataDriftPreset

    current, reference = _frame(candidate, family_names), _frame(champion, family_names)
    shared = [name for name in current.columns if name in reference.columns]
    categorical = [name for name in shared if name.startswith("family")]
    definition = DataDefinition(
        numerical_columns=[name for name in shared if name not in categorical], categorical_columns=categorical
    )
    result = Report([DataDriftPreset()]).run(
        Dataset.from_pandas(current[shared], definition), Dataset.from_pandas(reference[shared], definition)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    result.save_html(str(path))
