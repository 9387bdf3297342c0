"""The time that users are read as of."""

import os
import time
from collections.abc import Callable

from pageopt.errors import ConfigError


def clock() -> Callable[[], int]:
    """Microseconds since 1970 UTC: those in PAGEOPT_AT, else the present. Raises ConfigError if they are none."""
    text = os.environ.get("PAGEOPT_AT")
    if not text:
        return lambda: time.time_ns() // 1000
    if not text.isdecimal():
        raise ConfigError(f"PAGEOPT_AT is {text!r}; give a time in whole microseconds since 1970.")
    return lambda: int(text)
