"""Holding a project while a flow works in it, and what a user sees where it does not come to its end."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from flows import summary
from pageopt.errors import PageoptError
from pageopt.workflow import repro
from pageopt.workflow.run_lock import run_lock
from pageopt.workspace import Workspace


@contextlib.contextmanager
def hold(workspace: Workspace) -> Iterator[None]:
    """Hold the project; what an interrupted run left running is ended, and said. May be nested in one process."""
    with run_lock(workspace.state / "run.lock") as left:
        for process in left:
            summary.note(f"Ended a process that an interrupted run left behind: {process}")
        yield


def free_locks(workspace: Workspace) -> None:
    """Free what an interrupted run had locked in DVC, and say so; the project must be held."""
    for path in repro.mend_locks(workspace.root):
        summary.note(f"Freed {path}, which an interrupted run had locked in DVC")


def held(work: Callable[[Workspace], int], interrupted: str) -> int:
    """What `work` returns in the held project around here; where it fails, its error's code, told without a traceback.

    Held from before the flow, so that Prefect's server, which the flow starts, can be found after a kill.
    """
    try:
        workspace = Workspace.find()
        with hold(workspace):
            return work(workspace)
    except PageoptError as error:
        print(f"pageopt: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"pageopt: interrupted{interrupted}", file=sys.stderr)
        return 130
