"""A name for the values of arrays: equal for equal values of one type and shape, in equal order."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def digest(arrays: Iterable[tuple[str, NDArray]]) -> str:
    """32 hex digits for named arrays of numbers."""
    result = hashlib.blake2b(digest_size=16)
    for name, array in arrays:
        result.update(f"{name}{array.dtype}{array.shape}".encode())
        result.update(np.ascontiguousarray(array).data)
    return result.hexdigest()
