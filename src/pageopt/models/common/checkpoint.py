"""Checkpoints of a training: one file, replaced in one step after each epoch, so that a kill leaves a whole one."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

_KEY = "state"


def write(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, object]) -> None:
    """Replace `path` by `tensors` and the JSON-able `state`, or leave it as it was; on return it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    content = save({name: value.contiguous() for name, value in tensors.items()}, {_KEY: json.dumps(state)})
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name, too, must survive a loss of power
    finally:
        os.close(folder)


def read(path: Path) -> tuple[dict[str, Tensor], dict] | None:
    """What `write` left at `path`: tensors by name, and the state. None where there is nothing."""
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()[_KEY])  # noqa: SIM118
