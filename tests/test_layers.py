"""Imports point one way: from room to room as listed here, and in no circle from file to file."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from pageopt.code import PACKAGE, closure

# Each room may know those before it. Rooms in one line know nothing of each other.
ROOMS = (
    ("errors", "code", "telemetry"),
    ("artefact", "workspace", "config"),
    ("contract", "problems"),
    ("presets", "tables", "policies"),
    ("check", "simulator"),
    ("sources",),
    ("features",),
    ("models",),
    ("search",),
    ("evaluation",),
    ("engine",),
    ("serving", "workflow"),
    ("release",),
    ("stages",),
    ("studies",),
    ("cli",),
    ("__main__", "flows"),
)
RANK = {room: rank for rank, line in enumerate(ROOMS) for room in line}
FLOWS = PACKAGE.parents[1] / "flows"
FILES = {
    ".".join(file.relative_to(top).with_suffix("").parts).removesuffix(".__init__"): file
    for top, folder in ((PACKAGE.parent, PACKAGE), (FLOWS.parent, FLOWS))
    for file in sorted(folder.rglob("*.py"))
}


def imported(file: Path) -> Iterator[str]:
    """Our modules that a file names in its imports, wherever in it they stand."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in FILES else node.module for name in names]
        yield from (name for name in names if name in FILES)


def room(module: str) -> str:
    return module.removeprefix("pageopt").removeprefix(".").split(".")[0]


def test_every_room_has_its_place():
    assert {room(module) for module in FILES} - {""} == set(RANK)


@pytest.mark.parametrize("name", RANK)
def test_a_room_knows_those_before_it(name: str):
    of = {module: file for module, file in FILES.items() if room(module) == name}
    known = {(module, other) for module, file in of.items() for other in imported(file) if room(other)}
    up = {(a, b) for a, b in known if room(b) != name and RANK[room(b)] >= RANK[name]}
    assert up == set(), "the room on the right comes later in ROOMS, or stands in the same line"


def test_no_file_imports_itself_by_way_of_others():
    graph = {module: {other for other in imported(file) if other != module} for module, file in FILES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES)


def test_what_serves_knows_no_training():
    heavy = {"models", "evaluation", "simulator", "sources", "check", "workflow", "release", "stages", "studies"}
    served = {path.parts[1] for path in closure("pageopt.serving.service")}
    assert served & heavy == set()
