"""Work of a study, spread over processes, with a progress bar."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


def spread(
    jobs: Sequence[Callable[[], T]], processes: int, start: Callable[[], None], title: str, *, progress: bool
) -> list[T]:
    """What each of `jobs` gives, in their order; the same for any number of processes.

    `start` is called once in each process before its first job. Where a job raises, the others are given up.
    """
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    # Spawned, not forked: the parent may hold threads of other libraries.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), start)
    with Progress(*columns, disable=not progress) as bar, pool:
        task = bar.add_task(title, total=len(jobs))
        running = [pool.submit(job) for job in jobs]
        try:
            for future in as_completed(running):
                future.result()
                bar.advance(task)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in running]
