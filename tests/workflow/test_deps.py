"""No stage can forget the code that it runs."""

import ast
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from pageopt.code import PACKAGE, closure
from pageopt.config import SECTIONS
from pageopt.workflow import repro
from pageopt.workflow.deps import EXEMPT, FILES, entry, mend
from pageopt.workflow.fingerprint import fingerprint
from pageopt.workspace import Workspace

ROOT = Path(__file__).parents[2]


def read(file: str) -> dict:
    content: dict = YAML(typ="safe").load((ROOT / file).read_text())
    return content


STAGES = [(file, name) for file in FILES for name in read(file)["stages"]]


def copied(tmp_path: Path, file: str) -> Path:
    return Path(shutil.copyfile(ROOT / file, tmp_path / "dvc.yaml"))


@pytest.mark.parametrize("file", FILES)
def test_the_deps_are_what_the_stages_run(file: str, tmp_path: Path):
    copy = copied(tmp_path, file)
    assert mend(copy) == [], f"{file} does not follow the code; write it with: pageopt deps"
    assert copy.read_text() == (ROOT / file).read_text()


@pytest.mark.parametrize(("file", "name"), STAGES, ids=lambda value: value)
def test_every_module_of_a_stage_is_within_its_deps_and_every_dep_holds_one(file: str, name: str):
    stage = read(file)["stages"][name]
    files = {PACKAGE.parent / path for path in closure(entry(stage["cmd"]))} - {PACKAGE / name for name in EXEMPT}
    deps = {ROOT / dep for dep in stage["deps"] if dep.startswith("src/")}
    assert all(dep.exists() for dep in deps)
    outside = {path for path in files if not deps & {path, *path.parents}}
    assert all(path.name == "__init__.py" and len(ast.parse(path.read_text()).body) <= 1 for path in outside)
    assert [dep for dep in deps if not any(dep in (path, *path.parents) for path in files)] == []


def test_a_dep_that_is_missing_and_one_too_much_are_named_and_mended(tmp_path: Path):
    copy = copied(tmp_path, "dvc.yaml")
    right = copy.read_text()
    first, line = right.index("  train:"), "      - src/pageopt/features/columns.py\n"
    copy.write_text(right[:first] + right[first:].replace(line, "      - src/pageopt/serving\n", 1))
    assert mend(copy) == [
        "stage train runs src/pageopt/features/columns.py, which its deps left out",
        "stage train listed src/pageopt/serving, which it does not run",
    ]
    assert copy.read_text() == right


def missing(model: type[BaseModel], values: Mapping, at: str) -> Iterator[str]:
    """Keys of `model` that `values` leaves to its defaults."""
    for key, field in model.model_fields.items():
        if key not in values:
            yield f"{at}.{key}"
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from missing(field.annotation, values[key], f"{at}.{key}")


def test_every_number_of_the_config_stands_in_params_yaml_which_dvc_follows():
    """Else a changed default would be a changed result that no stage hears of: config.py is no dep."""
    params = read("params.yaml")
    assert [key for name, model in SECTIONS.items() for key in missing(model, params[name], name)] == []


@pytest.mark.parametrize(("file", "name"), STAGES, ids=lambda value: value)
def test_a_stage_follows_every_section_that_its_module_reads(file: str, name: str):
    stage = read(file)["stages"][name]
    module = PACKAGE.parent.joinpath(*entry(stage["cmd"]).split(".")).with_suffix(".py").read_text()
    read_here = {section for section, model in SECTIONS.items() if model.__name__ in module}
    followed = {str(param).split(".")[0] for param in stage["params"]}
    assert read_here - followed <= ({"train"} if name in ("baselines", "static") else set())  # they train no network


@pytest.fixture(scope="module")
def project(tmp_path_factory, init_dvc) -> Workspace:
    """The project as if all its stages had run: outputs of a few bytes, which DVC was told to take as theirs."""
    root = tmp_path_factory.mktemp("committed")
    for name in ("dvc.yaml", "params.yaml", "bentofile.yaml", "serving.lock"):
        shutil.copyfile(ROOT / name, root / name)
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data" / "inbox", root / "data" / "inbox")
    for stage in read("dvc.yaml")["stages"].values():
        for out in (*stage["outs"], *stage.get("metrics", ()), *stage.get("plots", ())):
            path = root / next(iter(out) if isinstance(out, dict) else iter([out]))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(path.name)
    init_dvc(root)
    repro.dvc(root, "commit", "--force", "--quiet", "dvc.yaml")
    return Workspace(root)


@pytest.fixture
def change(project: Workspace):
    """Adds a line to a module of the project; afterwards it is as before."""
    changed: list[tuple[Path, str]] = []

    def add(module: str) -> None:
        path = project.root / "src" / "pageopt" / module
        changed.append((path, path.read_text()))
        path.write_text(f"{changed[-1][1]}# one line more\n")

    yield add
    for path, text in changed:
        path.write_text(text)


@pytest.mark.parametrize(
    ("module", "stale"),
    [
        ("features/columns.py", ["prepare", "simulate-pages", "train", "export", "evaluate"]),
        ("release/gates/quality.py", []),
        ("config.py", []),
    ],
)
def test_a_changed_line_makes_the_stages_stale_that_run_it(project: Workspace, change, module: str, stale: list[str]):
    assert repro.stale(project.root) == []
    change(module)
    assert repro.stale(project.root) == stale


@pytest.mark.parametrize("module", ["release/gates/quality.py", "release/pyfunc_model.py", "features/columns.py"])
def test_a_changed_line_in_what_judges_or_serves_gives_a_new_fingerprint(project: Workspace, change, module: str):
    package = project.root / "src" / "pageopt"
    before = fingerprint(project, package)
    change(module)
    assert fingerprint(project, package) != before


def test_a_changed_line_that_neither_judges_nor_serves_gives_none(project: Workspace, change):
    package = project.root / "src" / "pageopt"
    before = fingerprint(project, package)
    change("studies/bench/inputs.py")
    assert fingerprint(project, package) == before
