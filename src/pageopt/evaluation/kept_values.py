"""Page-aware contributions that are on disk: what stage evaluate computed, the quality gate need not compute again.

They lie in the folder of the q̂ that they follow from, by a key that names all else that they do: logged pages, and
pages decided.
"""

from pathlib import Path
from typing import cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pageopt.evaluation.estimate import Floats
from pageopt.evaluation.policy_value import Reward

_FILE = "page_values.safetensors"
ByReward = dict[Reward, Floats]


def read(folder: Path) -> dict[str, ByReward]:
    """Contributions `[pages]` by key, in the folder of a reward model; none where there are none that can be read."""
    try:
        arrays = load_file(folder / _FILE)
    except (OSError, SafetensorError):  # they are only computed again
        return {}
    kept: dict[str, ByReward] = {}
    for name, array in arrays.items():
        of, reward = name.split(".")
        kept.setdefault(of, {})[cast(Reward, reward)] = array
    return kept


def write(folder: Path, kept: dict[str, ByReward]) -> None:
    """Write what `read` reads; the same contributions give the same bytes."""
    arrays = {f"{of}.{reward}": array for of, values in kept.items() for reward, array in values.items()}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / _FILE)
