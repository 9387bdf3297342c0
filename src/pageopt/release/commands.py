"""Commands around the registry: list releases, go back to one, serve the champion."""

from rich.console import Console
from rich.table import Table

from pageopt.config import ReleaseParams, load
from pageopt.errors import ReleaseError
from pageopt.release import bento
from pageopt.release.registry import Registry, Version
from pageopt.workspace import Workspace


def _open(workspace: Workspace) -> Registry:
    if not Registry.exists(workspace):
        raise ReleaseError("Nothing was released in this project yet. Train and release a model: make run")
    return Registry(workspace, load(workspace.params, ReleaseParams).model_name)


def _champion(registry: Registry) -> Version:
    champion = registry.champion()
    if champion is None:
        raise ReleaseError("There is no champion: no candidate passed its gates yet. See reports/release.html")
    return champion


def releases(workspace: Workspace) -> None:
    """Print all registered versions, the newest first."""
    registry = _open(workspace)
    if not registry.versions():
        print("No version yet: every candidate so far was rejected. See reports/release.html")
        return
    champion = registry.champion()
    table = Table(box=None, pad_edge=False)
    for name in ("version", "registered (UTC)", "verdict", "bento", "data and code"):
        table.add_column(name)
    for version in registry.versions():
        now = " ← champion" if champion and version.number == champion.number else ""
        table.add_row(
            f"{version.number}{now}",
            f"{version.created:%Y-%m-%d %H:%M}",
            version.verdict or "not judged to the end",
            version.bento or "–",
            version.fingerprint,
        )
    Console().print(table)


def rollback(workspace: Workspace, to: int) -> None:
    """Make a version that was promoted before the champion again, for BentoML's own commands too."""
    registry = _open(workspace)
    bento.build(workspace, registry.promoted(to))
    before, now = registry.rollback(to)
    bento.expose(workspace, now)
    was = f"; it was version {before.number}" if before else ""
    print(f"Version {now.number} is champion{was}. Restart what serves it: make serve")


def serve(workspace: Workspace, port: int) -> None:
    """Serve the champion's Bento on this machine until it is ended."""
    champion = _champion(_open(workspace))
    print(f"Serving version {champion.number} ({bento.tag_of(champion)}) on http://127.0.0.1:{port}", flush=True)
    bento.serve(workspace, champion, port)
