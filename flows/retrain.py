"""The retraining flow: stages, gates, registry, Bento, promotion, report.

    python -m flows.retrain            as `make run` does; exit code 0 promoted, 3 rejected, 1 or 2 an error
    python -m flows.retrain --again    judge once more although nothing has changed

A run can be ended at any point and started again. What users see changes in one place, when the alias `champion` moves;
until then nothing is lost but time, after it only reports are still to be written.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows import summary
from flows.hold import free_locks, held, hold
from pageopt.config import CollectParams, EvaluateParams, GatesParams, ReleaseParams, check_all, load, read
from pageopt.errors import ReleaseError, StageError
from pageopt.release import bento
from pageopt.release.gates.verdict import Verdict, passed, reason
from pageopt.release.record import Release, ReleasedModel, publish
from pageopt.release.registry import PROMOTED, REJECTED, Candidate, Registry, Version
from pageopt.workflow import repro
from pageopt.workflow.fingerprint import commit, data_versions, fingerprint
from pageopt.workflow.repro import Step
from pageopt.workspace import Workspace

if TYPE_CHECKING:
    from pageopt.release.gates.judging import Judge

T = TypeVar("T")
_EVIDENCE = ("evaluation.json", "drift.html")  # beside release report and dvc.lock


@dataclass
class Run:
    """One run of the flow: what it works on, and what its steps took so far."""

    workspace: Workspace
    registry: Registry
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock: float = field(default_factory=time.monotonic)
    steps: list[Step] = field(default_factory=list)

    def timed(self, name: str, work: Callable[[], T]) -> T:
        """Do `work` and note its time."""
        started = time.monotonic()
        result = work()
        self.steps.append(Step(name, round(time.monotonic() - started, 2)))
        return result


@task(task_run_name="{stage}", cache_policy=NO_CACHE, persist_result=False)
def stage(root: Path, stage: str) -> Step:
    """Bring one DVC stage up to date in a process of its own."""
    logger = get_run_logger()
    return repro.repro(root, stage, logger.info)


@task(task_run_name="gate {name}", cache_policy=NO_CACHE, persist_result=False)
def gate(name: str, judge: Callable[[], Verdict]) -> Verdict:
    """Let one gate judge."""
    verdict = judge()
    get_run_logger().info("%s: %s", "passed" if verdict.passed else "FAILED", verdict.why)
    summary.gate(verdict)
    return verdict


@task(cache_policy=NO_CACHE, persist_result=False)
def register(registry: Registry, candidate: Candidate, bundle: Path, page: dict[str, Any]) -> Version:
    """Copy the bundle into the registry as a new version; `page` is its example."""
    return registry.register(candidate, bundle, page)


@task(cache_policy=NO_CACHE, persist_result=False)
def build(workspace: Workspace, registry: Registry, version: Version) -> str:
    """Build the Bento of the registered version."""
    tag = bento.build(workspace, version)
    registry.set_bento(version, tag)
    return tag


@task(cache_policy=NO_CACHE, persist_result=False)
def trial(workspace: Workspace, tag: str, version: Version, judge: "Judge") -> list[Verdict]:
    """Serve the Bento on this machine, test it and put load on it."""
    with bento.serving(workspace, tag) as url:
        verdicts = judge.bento(url, str(version.number))
    for verdict in verdicts:
        summary.gate(verdict)
    return verdicts


@task(cache_policy=NO_CACHE, persist_result=False)
def promote(registry: Registry, version: Version, over: int | None) -> None:
    """Move the alias `champion`: from here on users get this version."""
    registry.promote(version, over=over)


@task(cache_policy=NO_CACHE, persist_result=False)
def push(root: Path) -> None:
    """Send the data of this release to the DVC remote."""
    try:
        repro.push(root)
    except StageError as error:
        # The release stands without it, and the next one sends what is missing.
        summary.note(f"The data was not pushed to the DVC remote: {error}")


@flow(name="retrain", persist_result=False, validate_parameters=False)
def retrain(root: str, again: bool = False) -> State:
    """Retrain, judge and release in the project at `root`.

    Final states: Promoted, Unchanged, and the failed Rejected; the message says why.
    """
    workspace = Workspace(Path(root))
    with hold(workspace):
        free_locks(workspace)
        check_all(workspace.params)
        registry = Registry(workspace, load(workspace.params, ReleaseParams).model_name)
        return _retrain(Run(workspace, registry), again)


def _retrain(run: Run, again: bool) -> State:
    _expose(run)
    _stages(run)
    mark = fingerprint(run.workspace)
    run.registry.sweep(mark)
    known = run.registry.find(mark)
    if known and known.verdict and not again:
        return _unchanged(run, known)
    candidate = run.registry.open(mark, again=again)
    champion = run.registry.champion()
    if champion and champion.run_id == candidate.run_id:
        # The last run was ended between the promotion and its report.
        return _conclude(run, candidate, champion, PROMOTED, "every gate passed")
    return _judge(run, candidate, champion)


def _expose(run: Run) -> None:
    """Let BentoML's own commands find the champion. Every run begins with it, to mend what a kill or a hand undid."""
    if champion := run.registry.champion():
        try:
            bento.expose(run.workspace, champion)
        except ReleaseError as error:
            # A champion whose files are lost is no reason not to train its successor.
            summary.note(f"BentoML's own commands do not find the champion: {error}")


def _stages(run: Run) -> None:
    """Run what is stale. Stages above the first stale one need not even be looked at."""
    root = run.workspace.root
    names = repro.stages(root)
    stale = run.timed("dvc status", lambda: repro.stale(root))
    if not stale:
        run.steps += [Step(name, 0.0, None, changed=False) for name in names]
        return
    remote = load(run.workspace.params, CollectParams).source == "obd"
    first = names.index(stale[0])
    for name in names:
        if names.index(name) < first:
            run.steps.append(Step(name, 0.0, None, changed=False))
            continue
        retries = 1 if name == "collect" and remote else 0
        run.steps.append(stage.with_options(retries=retries, retry_delay_seconds=5)(root, name))


def _judge(run: Run, candidate: Candidate, champion: Version | None) -> State:
    # With PyTorch, XGBoost and SciPy: seconds that a run without news need not wait.
    from pageopt.release import model_card
    from pageopt.release.gates.judging import Judge

    workspace, registry = run.workspace, run.registry
    origin = model_card.origin(workspace, champion.number if champion else None)
    registry.describe(candidate.run_id, origin, model_card.params(workspace), model_card.data_sets(workspace))
    summary.heading("Gates")
    best = registry.best(load(workspace.params, GatesParams).quality.best_of_days)
    judge = Judge(workspace, champion, None if best == champion else best)
    verdicts = [
        run.timed(f"gate {name}", lambda name=name: gate(name, getattr(judge, name)))  # type: ignore[misc]
        for name in ("data", "quality", "parity", "latency", "drift")
    ]
    if not passed(verdicts):
        return _settle(run, candidate, champion, judge, verdicts, None, None)
    page = judge.example()
    version = run.timed("register", lambda: register(registry, candidate, workspace.bundle, page))
    tag = run.timed("build Bento", lambda: build(workspace, registry, version))
    verdicts += run.timed("try Bento", lambda: trial(workspace, tag, version, judge))
    return _settle(run, candidate, champion, judge, verdicts, version, tag)


def _settle(
    run: Run,
    candidate: Candidate,
    champion: Version | None,
    judge: "Judge",
    verdicts: list[Verdict],
    version: Version | None,
    tag: str | None,
) -> State:
    """Keep the evidence, then promote or reject."""
    from pageopt.release import model_card, report

    workspace = run.workspace
    release = _release(run, candidate, champion, verdicts, version, tag)
    confidence = load(workspace.params, EvaluateParams).confidence
    files = report.write(workspace, workspace.state / "report", release, judge.exposure(), confidence)
    evidence = [*files, workspace.root / "dvc.lock", *(workspace.reports / name for name in _EVIDENCE)]
    figures, note = model_card.figures(workspace, verdicts), model_card.note(workspace, release)
    run.registry.log(candidate.run_id, files=evidence, figures=figures, note=note)
    if release.verdict == PROMOTED and version:
        promote(run.registry, version, champion.number if champion else None)
        _expose(run)
    return _conclude(run, candidate, version, release.verdict, release.why)


def _release(
    run: Run,
    candidate: Candidate,
    champion: Version | None,
    verdicts: list[Verdict],
    version: Version | None,
    tag: str | None,
) -> Release:
    """What the run came to."""
    workspace = run.workspace
    good = passed(verdicts)
    params = load(workspace.params, ReleaseParams)
    return Release(
        verdict=PROMOTED if good else REJECTED,
        why="every gate passed" if good else reason(verdicts),
        gates=verdicts,
        model=ReleasedModel(params.model_name, version.number if version else None, candidate.run_id),
        bento=tag,
        champion_before=champion.number if champion else None,
        fingerprint=candidate.fingerprint,
        preset=params.preset,
        source=load(workspace.params, CollectParams).source,
        started=run.started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - run.clock, 1),
        steps=run.steps,
        data=data_versions(workspace.root),
        code=commit(workspace.root),
        params=read(workspace.params),
    )


def _conclude(run: Run, candidate: Candidate, version: Version | None, verdict: str, why: str) -> State:
    """Publish the reports from the evidence and write the verdict, in this order: a kill between them is made good."""
    _publish(run, candidate)
    run.registry.conclude(candidate.run_id, verdict, why)
    if verdict == REJECTED:
        return State(type=StateType.FAILED, name="Rejected", message=why)
    push(run.workspace.root)
    return Completed(name="Promoted", message=f"Version {version.number if version else '?'} is champion")


def _publish(run: Run, candidate: Candidate) -> None:
    names = ("release.json", "release.html")
    files = [path for name in names if (path := run.registry.evidence(candidate.run_id, name))]
    publish(files, run.workspace.reports)


def _unchanged(run: Run, known: Candidate) -> State:
    """The same candidate was judged before: its verdict stands, also after a rollback."""
    _publish(run, known)
    champion = run.registry.champion()
    now = f"version {champion.number} is champion" if champion else "there is no champion"
    message = f"Nothing changed since {known.created:%Y-%m-%d %H:%M} UTC ({known.verdict}): {now}"
    if known.verdict == REJECTED:
        return State(type=StateType.FAILED, name="Rejected", message=f"{message}. {known.why}")
    return Completed(name="Unchanged", message=message)


def main(arguments: list[str] | None = None) -> int:
    """Run the flow in the project around the current folder; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.retrain", description="Retrain, judge and release.")
    parser.add_argument("--again", action="store_true", help="judge again although nothing has changed")
    options = parser.parse_args(arguments)
    started = time.monotonic()

    def work(workspace: Workspace) -> int:
        state = retrain(str(workspace.root), again=options.again, return_state=True)
        return summary.end(workspace, state, time.monotonic() - started)

    return held(work, "; the champion is as before. Go on with: make run")


if __name__ == "__main__":
    sys.exit(main())
