import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import msgspec
import numpy as np
import pandas as pd
import pytest

from pageopt.code import closure
from pageopt.engine.decide import Decider
from pageopt.engine.page_engine import PageEngine
from pageopt.engine.requests import parse_page
from pageopt.errors import RequestError
from pageopt.features.store.snapshot import UserSnapshot
from pageopt.release.gates import smoke
from pageopt.release.gates.simulated import SimulatedPages
from pageopt.release.registry import Registry, Version
from pageopt.workspace import Workspace

# MLflow 3.17 maps its tables with an option that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

CHAMPION = "models:/page-optimizer@champion"
SHOES = {"item_id": "i1", "category": "shoes"}


@pytest.fixture(scope="module")
def released(maker, empty_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project whose bundle is version 2 and the champion."""
    workspace = Workspace(tmp_path_factory.mktemp("released"))
    shutil.copytree(maker().bundle, workspace.bundle)
    shutil.copytree(empty_registry, workspace.state)
    registry = Registry(workspace, "page-optimizer")
    page = {"page_id": "p1", "user_id": "u1", "platform": "web", "hero_item": SHOES, "candidates": ["m3", "m1", "m0"]}
    for fingerprint in ("f1", "f2"):
        version = registry.register(registry.open(fingerprint), workspace.bundle, page)
    registry.promote(version, over=None)
    return workspace


@pytest.fixture(scope="module")
def version(released: Workspace) -> Version:
    champion = Registry(released, "page-optimizer").champion()
    assert champion is not None
    return champion


@pytest.fixture(scope="module")
def decider(version: Version) -> Decider:
    return Decider(PageEngine(version.folder), UserSnapshot(version.folder / "users.sqlite"), str(version.number))


@pytest.fixture
def model(released: Workspace, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [*sys.path])  # MLflow puts the model's own code first
    mlflow.set_tracking_uri(released.registry_uri)
    return mlflow.pyfunc.load_model(CHAMPION)


def answers(decider: Decider, pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    bodies = [json.dumps({"page": page}).encode() for page in pages]
    return [msgspec.to_builtins(decider.answer(parse_page(body, decider.limits))[0]) for body in bodies]


def test_a_loaded_version_gives_the_page_that_the_endpoint_gives(model, decider: Decider):
    page = model.input_example.to_dict("records")[0]
    (answer,) = model.predict(model.input_example).to_dict("records")
    assert answer == answers(decider, [page])[0]
    assert (answer["page_id"], answer["model_version"], answer["policy"]) == ("p1", "2", "trnn")
    assert {shown["module_id"] for shown in answer["modules"]} == {"m0", "m1", "m3"}


def test_a_table_is_answered_row_by_row_whatever_each_row_leaves_out(maker, model, decider: Decider):
    project = maker()
    engine, pool = PageEngine(project.bundle), SimulatedPages.load(project.simulated)
    pages = [json.loads(body)["page"] for body in smoke.bodies(pool, engine, np.arange(40))]
    pages += [
        {"page_id": "few", "platform": "web", "hero_item": SHOES, "slots": 2},
        {"page_id": "price", "platform": "app", "hero_item": SHOES | {"price": 20}, "features": {"season": "web"}},
        {"page_id": "unknown", "platform": "app", "hero_item": SHOES, "candidates": ["m2", "new"]},
    ]
    table = pd.DataFrame(pages, index=[f"row {number}" for number in range(len(pages))])
    given = model.predict(table)
    assert list(given.index) == list(table.index)
    assert given.to_dict("records") == answers(decider, pages)
    assert [len(given.loc[f"row {row}", "modules"]) for row in (40, 41, 42)] == [2, 4, 1]
    assert given.loc["row 42", "degraded"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"slots": 9}, "page.slots"),
        ({"candidates": "m1"}, "page.candidates"),
        ({"features": {"height": 3}}, "page.features.height"),
        ({"hero_item": SHOES | {"price": float("inf")}}, "page.hero_item.price"),
    ],
)
def test_a_row_that_the_endpoint_would_refuse_is_named_with_its_field(model, change: dict[str, Any], field: str):
    good = {"platform": "web", "hero_item": SHOES}
    with pytest.raises(RequestError, match=f"Row 1: {field}") as error:
        model.predict(pd.DataFrame([good, good | change]))
    assert error.value.field == field


@pytest.mark.parametrize("left_out", ["platform", "hero_item"])
def test_what_every_page_needs_is_in_the_signature(model, left_out: str):
    page = {"platform": "web", "hero_item": SHOES}
    del page[left_out]
    with pytest.raises(mlflow.MlflowException, match=left_out):
        model.predict(pd.DataFrame([page]))
    optional = {column.name for column in model.metadata.signature.inputs if not column.required}
    assert optional == {"page_id", "user_id", "candidates", "slots", "features"}
    assert [column.name for column in model.metadata.signature.outputs] == list(model.predict(model.input_example))


def test_a_model_carries_the_code_that_decides_its_pages_and_no_other(version: Version):
    code = version.folder.parents[1] / "code"
    carried = sorted(path.relative_to(code) for path in code.rglob("*") if path.is_file())
    assert carried == closure("pageopt.release.pyfunc_model")
    text = "".join((code / path).read_text() for path in carried)
    assert "import torch" not in text
    assert "import mlflow" not in text


def test_a_model_asks_for_the_versions_that_the_bento_is_locked_to(version: Version):
    wanted = (version.folder.parents[1] / "requirements.txt").read_text().split()
    names = {line.partition("==")[0] for line in wanted}
    assert names == {"mlflow", "msgspec", "numpy", "onnxruntime", "pandas", "safetensors"}
    locked = (Path(__file__).parents[2] / "serving.lock").read_text()
    for line in wanted:
        assert line.startswith(("mlflow==", "pandas==")) or f"\n{line} \\\n" in locked


def test_mlflow_predicts_with_a_version_by_its_own_command(released: Workspace, version: Version, decider: Decider):
    pages = [{"page_id": "p7", "platform": "web", "hero_item": SHOES}]
    asked, given = released.root / "pages.json", released.root / "answers.json"
    asked.write_text(json.dumps({"dataframe_records": pages}))
    command = ["models", "predict", "-m", CHAMPION, "--env-manager", "local", "-i", str(asked), "-o", str(given)]
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", *command],
        cwd=released.root,
        env={**os.environ, "MLFLOW_TRACKING_URI": released.registry_uri},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(given.read_text())["predictions"] == answers(decider, pages)
