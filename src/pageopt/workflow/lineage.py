"""What an output of the stages came from."""

from pathlib import Path
from typing import Any

from pageopt.workflow.fingerprint import locked_stages


def params_behind(root: Path, output: str) -> dict[str, Any]:
    """Params that DVC saw when it last made `output`, of its stage and of all stages above it, by dotted name.

    Raises ReleaseError where no stage has run.
    """
    stages = locked_stages(root)
    flat: dict[str, Any] = {}
    waiting, seen = [output], set()
    while waiting:
        wanted = waiting.pop()
        for name, stage in stages.items():
            made = [out["path"] for out in stage.get("outs", ())]
            if name in seen or not any(wanted == out or wanted.startswith(f"{out}/") for out in made):
                continue
            seen.add(name)
            waiting += [dep["path"] for dep in stage.get("deps", ())]
            for section in stage.get("params", {}).values():
                _flatten(section, "", flat)
    return flat


def _flatten(value: Any, prefix: str, flat: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            _flatten(inner, f"{prefix}.{name}" if prefix else name, flat)
    else:
        flat[prefix] = value
