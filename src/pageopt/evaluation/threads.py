"""Work side by side, such as that of the folds of a cross-fit."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")


def side_by_side(work: Callable[[int], T], numbers: Iterable[int], threads: int) -> list[T]:
    """`work` of all `numbers`, `threads` at a time.

    Linear algebra keeps to the thread that asks for it: threads of its own would spin where others have work to do, and
    sum in an order that depends on how many cores there are.
    """
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(max_workers=threads) as pool:
        return list(pool.map(work, numbers))
