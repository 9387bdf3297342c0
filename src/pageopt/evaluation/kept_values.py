"""Arrays that are on disk: what stage evaluate computed of logged pages, the quality gate need not compute again.

They lie in the folder of q̂, by a key that names all else that they follow from: logged pages and the graph that decides
them, or pages decided and what they are worth.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

_FILE = "page_values.safetensors"
Kept = dict[str, dict[Any, NDArray]]  # by key, and by name: modules, or the reward


def read(folder: Path) -> Kept:
    """Arrays by key and name, in the folder of a reward model; none where there are none that can be read."""
    try:
        arrays = load_file(folder / _FILE)
    except (OSError, SafetensorError):  # they are only computed again
        return {}
    kept: Kept = {}
    for name, array in arrays.items():
        key, part = name.split(".")
        kept.setdefault(key, {})[part] = array
    return kept


def write(folder: Path, kept: Kept) -> None:
    """Write what `read` reads; the same arrays give the same bytes."""
    arrays = {f"{key}.{name}": np.ascontiguousarray(part) for key, of in kept.items() for name, part in of.items()}
    save_file(arrays, folder / _FILE)
