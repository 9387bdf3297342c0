"""What a module runs is read off its imports."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pageopt.code import PACKAGE, closure


def package(tmp_path: Path, **modules: str) -> Path:
    """A package `shop` of these modules."""
    root = tmp_path / "shop"
    for name, text in {"__init__": "", **modules}.items():
        file = root.joinpath(*name.split("__", 1) if name != "__init__" else [name]).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(textwrap.dedent(text))
    return root


def files(tmp_path: Path, entry: str, **modules: str) -> set[str]:
    """The closure of `entry`, without the packages' own files."""
    paths = closure(entry, package=package(tmp_path, **modules))
    return {str(path.relative_to("shop")) for path in paths if path.name != "__init__.py"}


@pytest.mark.parametrize(
    "line",
    [
        "import shop.desk.till",
        "import shop.desk.till as t",
        "from shop.desk import till",
        "from shop.desk.till import ring",
        "from .desk import till",
        "from . import desk; from shop.desk import till",
        "def open():\n    from shop.desk import till",
        "if not TYPE_CHECKING:\n    import shop.desk.till",
    ],
)
def test_an_import_is_seen_however_it_is_written(tmp_path: Path, line: str):
    assert files(tmp_path, "shop.door", door=line, desk__till="ring = 1", attic="") == {"door.py", "desk/till.py"}


def test_imports_of_imports_are_seen_and_circles_end(tmp_path: Path):
    modules = {"a": "import shop.b", "b": "import shop.c", "c": "import shop.a", "d": "import shop.a"}
    assert files(tmp_path, "shop.a", **modules) == {"a.py", "b.py", "c.py"}


def test_a_package_runs_with_its_modules(tmp_path: Path):
    root = package(tmp_path, door="from shop.desk import till", desk__till="", sign="")
    (root / "desk" / "__init__.py").write_text("import shop.sign")
    assert closure("shop.door", package=root) == [
        Path("shop", *name) for name in [("__init__.py",), ("desk", "__init__.py"), ("desk", "till.py")]
    ] + [Path("shop/door.py"), Path("shop/sign.py")]


def test_what_type_checkers_alone_import_does_not_run(tmp_path: Path):
    line = "if TYPE_CHECKING:\n    import shop.a\nelse:\n    import shop.b"
    assert files(tmp_path, "shop.door", door=line, a="", b="") == {"door.py", "b.py"}


def test_an_entry_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ModuleNotFoundError, match=r"shop\.cellar"):
        closure("shop.cellar", package=package(tmp_path))


@pytest.mark.parametrize("entry", ["pageopt.stages.prepare", "pageopt.serving.service"])
def test_what_python_loads_is_in_the_closure(entry: str):
    show = f"import sys, {entry}; print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('pageopt')))"
    loaded = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout.split()
    files = {str(path) for path in closure(entry)}
    assert {path[path.rindex("/pageopt/") + 1 :] for path in loaded} <= files


def test_serving_runs_features_but_neither_models_nor_what_trains_them():
    paths = closure("pageopt.serving.service")
    files = {str(path) for path in paths}
    assert {"pageopt/__init__.py", "pageopt/serving/service.py", "pageopt/features/encoder.py"} <= files
    assert not any(part in path for path in files for part in ("models", "release", "stages", "simulator", "search"))
    code = "\n".join((PACKAGE.parent / path).read_text() for path in paths)
    assert not re.search(r"^\s*(import|from) torch", code, flags=re.M)
