"""What the registry shows of a candidate: where it comes from, on what it learned and was judged, figures, a note."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pageopt.config import CollectParams, EvaluateParams, load
from pageopt.release.gates.verdict import Verdict
from pageopt.release.registry import DataSet, Figure
from pageopt.release.report import Release
from pageopt.workflow.fingerprint import commit, data_versions
from pageopt.workflow.lineage import params_behind
from pageopt.workspace import Workspace

_KEY_FIGURES = {"auc": "AUC", "ndcg": "NDCG", "ctr_dr": "CTR (DR)", "ptr_dr": "PTR (DR)"}


def origin(workspace: Workspace, champion_before: int | None) -> dict[str, str]:
    """Tags that say where a candidate comes from."""
    code = commit(workspace.root)
    versions = {version.path: version.md5 for version in data_versions(workspace.root)}
    known = {"commit": code.sha, "dirty": code.dirty, "champion_before": champion_before}
    data = {path: md5 for path, md5 in versions.items() if path.startswith("data/")}
    return {name: str(value) for name, value in (known | data).items() if value is not None}


def params(workspace: Workspace) -> dict[str, str]:
    """Params that shaped the bundle, by dotted name: neither those of gates and studies, nor of sources not read."""
    source = load(workspace.params, CollectParams).source
    others = tuple(f"collect.{name}." for name in ("simulator", "obd") if name != source)
    bundle = str(workspace.bundle.relative_to(workspace.root))
    shaped = params_behind(workspace.root, bundle)
    return {name: str(value) for name, value in shaped.items() if not name.startswith(others)}


def data_sets(workspace: Workspace) -> list[DataSet]:
    """The splits of the prepared data."""
    digests = {version.path: version.md5 for version in data_versions(workspace.root)}
    folder = str(workspace.prepared.relative_to(workspace.root))
    pages = _read(workspace, "train")["pages"] | _read(workspace, "evaluation")["pages"]
    uses = {"train": "training", "valid": "validation", "test": "evaluation"}
    return [DataSet(name, use, f"{folder}/{name}", pages[name], digests[folder]) for name, use in uses.items()]


def figures(workspace: Workspace, gates: Sequence[Verdict]) -> list[Figure]:
    """Losses by epoch, what the test split says of the candidate, and what the gates measured."""
    train, evaluation = _read(workspace, "train"), _read(workspace, "evaluation")
    parts = {part.name: part for part in data_sets(workspace)}
    candidate = train["architecture"]
    checks = [(gate.name, check) for gate in gates for check in gate.checks]
    best = train["epochs"][train["best_epoch"] - 1]
    return [
        *(
            Figure(f"loss by epoch/{split} {name}", value, epoch["epoch"])
            for epoch in train["epochs"]
            for split, name, value in _losses(epoch)
        ),
        *(Figure(f"{split}/{name} loss", value, data=parts[split]) for split, name, value in _losses(best)),
        *_estimates("test", evaluation["models"].get(candidate, {}), parts["test"]),
        *(
            figure
            for pair, measures in evaluation["differences"].items()
            if pair.startswith(f"{candidate} - ")
            for figure in _estimates(f"test over {pair.removeprefix(candidate)[3:]}", measures, parts["test"])
        ),
        *(Figure(f"{gate}/{check.name}", check.value) for gate, check in checks if check.value is not None),
    ]


def _losses(epoch: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Split, name and value of an epoch's losses; `relative` is what early stop watches."""
    yield "valid", "relative", epoch["relative"]
    for split in ("train", "valid"):
        for name, value in epoch[split].items():
            yield split, name, value


def _estimates(group: str, measures: dict[str, Any], part: DataSet) -> Iterator[Figure]:
    for name, estimate in measures.items():
        if isinstance(estimate, dict) and estimate.get("value") is not None:
            yield Figure(f"{group}/{name}", estimate["value"], data=part)


def note(workspace: Workspace, release: Release) -> str:
    """The verdict, every gate and the key figures as Markdown. Lists: MLflow's page leaves no room between columns."""
    confidence = load(workspace.params, EvaluateParams).confidence
    gates = [f"- {gate.name} {'passed' if gate.passed else '**failed**'}: {gate.why}" for gate in release.gates]
    pages = [
        f"- {name}: "
        + ", ".join(f"{title} {_interval(measures.get(key) or {})}" for key, title in _KEY_FIGURES.items())
        for name, measures in _read(workspace, "evaluation")["models"].items()
    ]
    return "\n\n".join(
        [
            f"{release.verdict.capitalize()}: {release.why}",
            "\n".join(gates),
            f"Pages of the test split, {confidence:.0%} intervals; CTR and PTR are modules clicked and bought from per "
            "page:",
            "\n".join(pages),
            f"Preset {release.preset}, source {release.source}, fingerprint {release.fingerprint}. The whole report is "
            "`release.html` among the run's artifacts.",
        ]
    )


def _interval(estimate: dict[str, float | None]) -> str:
    value, low, high = (estimate.get(part) for part in ("value", "low", "high"))
    return "–" if value is None or low is None or high is None else f"{value:.4g} ({low:.4g} to {high:.4g})"


def _read(workspace: Workspace, report: str) -> Any:
    path: Path = workspace.reports / f"{report}.json"
    return json.loads(path.read_text(encoding="utf-8"))
