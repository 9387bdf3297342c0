"""A bundle as a model of MLflow: with the code that decides its pages, what it takes and gives, and an example.

MLmodel, requirements.txt, input_example.json, …
code/pageopt/       the engine and what it imports, no more
data/bundle/        the bundle, byte for byte
data/release.json   which registered version this is, added once MLflow has numbered it
"""

import ast
import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlparse

import pandas as pd
from mlflow import MlflowClient, pyfunc
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model

from pageopt.code import PACKAGE, copy
from pageopt.release.signature import signature

_LOADER = "pageopt.release.pyfunc_model"


def log(client: MlflowClient, run_id: str, name: str, bundle: Path, page: Mapping[str, Any]) -> str:
    """Log `bundle` as the model of a run, with `page` of a request to /rank_page as its example; the model's id."""
    run = client.get_run(run_id)
    model = client.create_logged_model(
        run.info.experiment_id, name, run_id, params=run.data.params, model_type="page ranker"
    )
    with TemporaryDirectory() as scratch, warnings.catch_warnings():
        # MLflow says it of types of its own when `pyfunc` is loaded.
        warnings.filterwarnings("ignore", message=".*inferred as AnyType", category=UserWarning)
        folder = Path(scratch)
        code = copy(_LOADER, folder)
        pyfunc.save_model(
            folder / "model",
            loader_module=_LOADER,
            data_path=str(bundle),
            code_paths=[str(folder / PACKAGE.name)],
            signature=signature(),
            input_example=pd.DataFrame([page]),
            pip_requirements=requirements(code),
            mlflow_model=Model(
                artifact_path=model.artifact_location, run_id=run_id, model_uuid=model.model_id, model_id=model.model_id
            ),
        )
        client.log_model_artifacts(model.model_id, str(folder / "model"))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)


def number(client: MlflowClient, model_id: str, name: str, number: int, release: Mapping[str, Any]) -> None:
    """Tell a logged model that it is version `number` of `name`: its answers and its page in MLflow then say so."""
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "release.json"
        file.write_text(json.dumps(release), encoding="utf-8")
        client.log_model_artifact(model_id, str(file), "data")
    # What MLflow's own `log_model` writes; without it the page says "Not registered".
    client.set_logged_model_tags(
        model_id, {"mlflow.modelVersions": json.dumps([{"name": name, "version": str(number)}])}
    )


def forget(client: MlflowClient, run_id: str) -> None:
    """Delete the models of a run; their files stay until `mlflow gc`."""
    experiment = client.get_run(run_id).info.experiment_id
    for model in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        client.delete_logged_model(model.model_id)


def bundle_of(client: MlflowClient, model_id: str, artifacts: Path) -> Path:
    """The folder of a logged model's bundle, also in a project that was moved since; `artifacts` is where it is now."""
    stored = Path(unquote(urlparse(client.get_logged_model(model_id).artifact_location).path))
    return (stored if stored.is_dir() else artifacts / "models" / model_id / "artifacts") / "data" / "bundle"


def requirements(code: Sequence[Path]) -> list[str]:
    """What these source files import from elsewhere, as installed: name==version.

    Their distributions are named as their modules are; PackageNotFoundError says where one is not.
    """
    modules = {name.split(".")[0] for path in code for name in _imports(path)}
    return [f"{name}=={version(name)}" for name in sorted(modules - sys.stdlib_module_names - {PACKAGE.name})]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)
