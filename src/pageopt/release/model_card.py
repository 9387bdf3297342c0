"""What the registry shows of a candidate: where it comes from, on what it learned and was judged, figures, a note."""

from collections.abc import Iterator, Mapping, Sequence

from pageopt.config import CollectParams, EvaluateParams, load
from pageopt.evaluation.figures import Evaluation
from pageopt.evaluation.figures import Figure as Estimated
from pageopt.models.common.record import Epoch
from pageopt.models.item.report import TrainReport
from pageopt.release.gates.verdict import Verdict
from pageopt.release.record import Release
from pageopt.release.registry import DataSet, Figure
from pageopt.workflow.fingerprint import commit, data_versions
from pageopt.workflow.lineage import params_behind
from pageopt.workspace import Workspace

_KEY_FIGURES = {
    "auc": "AUC",
    "ndcg": "NDCG",
    "ctr_page_dr": "CTR (page-aware DR)",
    "ptr_page_dr": "PTR (page-aware DR)",
    "ctr_dr": "CTR (DR by slot)",
    "ptr_dr": "PTR (DR by slot)",
}


def origin(workspace: Workspace, champion_before: int | None) -> dict[str, str]:
    """Tags that say where a candidate comes from."""
    code = commit(workspace.root)
    versions = {path: version.md5 for path, version in data_versions(workspace.root).items()}
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
    folder = str(workspace.prepared.relative_to(workspace.root))
    digest = data_versions(workspace.root)[folder].md5
    pages = _train(workspace).pages | {"test": _evaluation(workspace).pages.test}
    uses = {"train": "training", "valid": "validation", "test": "evaluation"}
    return [DataSet(name, use, f"{folder}/{name}", pages[name], digest) for name, use in uses.items()]


def figures(workspace: Workspace, gates: Sequence[Verdict]) -> list[Figure]:
    """Losses by epoch, what the test split says of the candidate, and what the gates measured."""
    train, evaluation = _train(workspace), _evaluation(workspace)
    parts = {part.name: part for part in data_sets(workspace)}
    candidate = train.architecture
    checks = [(gate.name, check) for gate in gates for check in gate.checks]
    best = train.epochs[train.best_epoch - 1]
    return [
        *(
            Figure(f"loss by epoch/{split} {name}", value, epoch.epoch)
            for epoch in train.epochs
            for split, name, value in _losses(epoch)
        ),
        *(Figure(f"{split}/{name} loss", value, data=parts[split]) for split, name, value in _losses(best)),
        *_estimates("test", evaluation.models[candidate].figures(), parts["test"]),
        *(
            figure
            for pair, change in evaluation.differences.items()
            if pair.startswith(f"{candidate} - ")
            for figure in _estimates(f"test over {pair.removeprefix(candidate)[3:]}", change.figures(), parts["test"])
        ),
        *(Figure(f"{gate}/{check.name}", check.value) for gate, check in checks if check.value is not None),
    ]


def _losses(epoch: Epoch) -> Iterator[tuple[str, str, float]]:
    """Split, name and value of an epoch's losses; `relative` is what early stop watches."""
    yield "valid", "relative", epoch.relative
    for split, losses in (("train", epoch.train), ("valid", epoch.valid)):
        for name, value in losses.items():
            yield split, name, value


def _estimates(group: str, figures: Mapping[str, Estimated], part: DataSet) -> Iterator[Figure]:
    for name, figure in figures.items():
        if figure.value is not None:
            yield Figure(f"{group}/{name}", figure.value, data=part)


def note(workspace: Workspace, release: Release) -> str:
    """The verdict, every gate and the key figures as Markdown. Lists: MLflow's page leaves no room between columns."""
    confidence = load(workspace.params, EvaluateParams).confidence
    gates = [f"- {gate.name} {'passed' if gate.passed else '**failed**'}: {gate.why}" for gate in release.gates]
    pages = [
        f"- {name}: " + ", ".join(f"{title} {_interval(of.figure(key))}" for key, title in _KEY_FIGURES.items())
        for name, of in _evaluation(workspace).models.items()
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


def _interval(figure: Estimated | None) -> str:
    estimate = figure.estimate if figure else None
    return "–" if estimate is None else f"{estimate.value:.4g} ({estimate.low:.4g} to {estimate.high:.4g})"


def _train(workspace: Workspace) -> TrainReport:
    return TrainReport.read(workspace.reports / "train.json")


def _evaluation(workspace: Workspace) -> Evaluation:
    return Evaluation.read(workspace.reports / "evaluation.json")
