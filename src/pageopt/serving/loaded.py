"""A bundle on disk as what decides pages."""

from pathlib import Path

from pageopt.engine.page_engine import PageEngine
from pageopt.errors import ExportError, PageoptError
from pageopt.features.store.snapshot import UserSnapshot
from pageopt.serving.version import model_version


def load_bundle(bundle: Path) -> tuple[PageEngine, UserSnapshot, str]:
    """Graph, users and version of a bundle, all of one and the same model.

    A promotion may put another bundle in this one's place while it is read; then that is read, from the start. Raises
    ExportError or ContractError for one that is missing or broken.
    """
    while True:
        read = _identity(bundle)
        try:
            whole = PageEngine(bundle), UserSnapshot(bundle / "users.sqlite"), model_version(bundle)
        except (PageoptError, OSError):
            if _identity(bundle) == read:
                raise
        else:
            if _identity(bundle) == read:
                return whole


def _identity(bundle: Path) -> tuple[int, bytes]:
    """The folder itself, whatever its name, and what release.json beside it says."""
    release = bundle.parent / "release.json"
    try:
        return bundle.stat().st_ino, release.read_bytes() if release.exists() else b""
    except OSError:
        raise ExportError(
            f"{bundle} is not there: no model was promoted in this project yet. Train and release: make run"
        ) from None
