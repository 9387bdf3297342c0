"""Which model an endpoint serves: the name that its answers carry."""

import hashlib
import json
from pathlib import Path

from pageopt.errors import ExportError


def model_version(bundle: Path) -> str:
    """The registered version in release.json beside the bundle; without that file a hash of the bundle's graph.

    Raises ExportError if the file is there and does not name a version: {"model": {"version": …}}.
    """
    release = bundle.parent / "release.json"
    if not release.exists():
        return "sha256:" + hashlib.sha256((bundle / "page.onnx").read_bytes()).hexdigest()[:12]
    try:
        version = json.loads(release.read_text(encoding="utf-8"))["model"]["version"]
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise ExportError(
            f'{release} must hold {{"model": {{"version": …}}}}: {error!r}. Build the Bento again.'
        ) from None
    return str(version)
