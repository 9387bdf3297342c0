"""Which source files a module runs: the one answer that stages' deps, fingerprints and the Bento's contents rest on.

Below every room: it reads files, and imports nothing of ours.
"""

import ast
import shutil
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

PACKAGE = Path(__file__).parent


def closure(*entries: str, package: Path = PACKAGE) -> list[Path]:
    """Source files of `package` that the modules `entries` import, directly or not; they are among them.

    Paths are relative to the folder above the package, sorted. Imports inside functions count, those for type checkers
    alone do not. Raises ModuleNotFoundError for an entry that is not there.
    """
    top = package.parent
    for entry in entries:
        if _file(top.joinpath(*entry.split("."))) is None:
            raise ModuleNotFoundError(f"There is no module {entry} in {package}.")
    waiting, files = list(entries), set()
    while waiting:
        parts = waiting.pop().split(".")
        for depth in range(1, len(parts) + 1):  # a module's parent packages are imported with it
            path = _file(top.joinpath(*parts[:depth]))
            if path is None or path in files:
                continue
            files.add(path)
            inside = ".".join(path.parent.relative_to(top).parts)
            imported = _imported(ast.parse(path.read_text(encoding="utf-8")), inside)
            waiting += [name for name in imported if name.split(".")[0] == package.name]
    return sorted(path.relative_to(top) for path in files)


def copy(entry: str, folder: Path) -> list[Path]:
    """Copy the closure of the module `entry` into `folder`, from the package's own folder down; the copies."""
    files = closure(entry)
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE.parent / path, folder / path)
    return [folder / path for path in files]


def _file(base: Path) -> Path | None:
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    return path if path.is_file() else None


def _imported(node: ast.AST, inside: str) -> Iterator[str]:
    """Dotted names that the code below `node`, of a file in the package `inside`, imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = resolve_name("." * node.level + (node.module or ""), inside)
        yield from (f"{module}.{alias.name}" for alias in node.names)  # `from a.b import c`: c may be a module too
    else:
        for_checkers = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for child in getattr(node, "orelse", ()) if for_checkers else ast.iter_child_nodes(node):
            yield from _imported(child, inside)
