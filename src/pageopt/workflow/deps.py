"""Which code a DVC stage runs, as the deps of dvc.yaml: the import closure of its command, written by `pageopt deps`.

A folder stands for its files where a stage runs two thirds of them or more: the lists stay short, and a stage is
seldom rerun for a line that it does not run.
"""

import ast
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

from ruamel.yaml import YAML

from pageopt.code import PACKAGE, closure

FILES = ("dvc.yaml", "experiments/dvc.yaml")
# The modules that no stage depends on. DVC follows the values of params.yaml one by one, and that file holds every key
# of config.py; the paths of workspace.py are deps and outs themselves; errors.py changes no result.
EXEMPT = ("config.py", "errors.py", "workspace.py")
_SOURCES = "src/"


def entry(command: str) -> str:
    """The module that `pageopt <stage>` or `pageopt experiment <what>` runs."""
    _, stage, *rest = command.replace("-", "_").split()
    return (
        f"{PACKAGE.name}.studies.experiments.{rest[0]}" if stage == "experiment" else f"{PACKAGE.name}.stages.{stage}"
    )


@cache
def code_deps(module: str) -> list[str]:
    """Files and folders, as dvc.yaml names them, that hold the code which `module` runs."""
    files = {PACKAGE.parent / path for path in closure(module)} - {PACKAGE / name for name in EXEMPT}
    return [_SOURCES + path.relative_to(PACKAGE.parent).as_posix() for path in _cover(PACKAGE, files)]


def _cover(folder: Path, files: Set[Path]) -> Iterator[Path]:
    """`files` below `folder`; a folder of which they are most comes instead of its files."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            every = {file for file in path.rglob("*.py") if _runs(file)}
            run = every & files
            if len(run) > 1 and 3 * len(run) >= 2 * len(every):
                yield path
            else:
                yield from _cover(path, files)
        elif path in files and _runs(path):
            yield path


def _runs(file: Path) -> bool:
    """Whether a file holds more than a docstring, as most `__init__.py` do not."""
    return file.name != "__init__.py" or any(
        not isinstance(node, ast.Expr) for node in ast.parse(file.read_text(encoding="utf-8")).body
    )


def mend(file: Path) -> list[str]:
    """Write into the dvc.yaml at `file` the code that each stage runs; says what was missing and what too much."""
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 120
    editor.indent(mapping=2, sequence=4, offset=2)
    content = editor.load(file)
    said = []
    for name, stage in content["stages"].items():
        listed = [dep for dep in stage["deps"] if dep.startswith(_SOURCES)]
        run = code_deps(entry(stage["cmd"]))
        said += [f"stage {name} runs {dep}, which its deps left out" for dep in run if dep not in listed]
        said += [f"stage {name} listed {dep}, which it does not run" for dep in listed if dep not in run]
        if listed != run:
            stage["deps"][:] = [dep for dep in stage["deps"] if dep not in listed] + run
            stage["deps"].fa.set_block_style()
    if said:
        editor.dump(content, file)
    return said
