"""The page problems that there are."""

from pageopt.errors import ConfigError
from pageopt.problems.base import Problem
from pageopt.problems.item import ITEM

PROBLEMS = {problem.name: problem for problem in (ITEM,)}
"""By name, as params.yaml and bundles name them."""


def problem_of(name: str) -> Problem:
    """The problem of this name. Raises ConfigError that names those there are."""
    if name not in PROBLEMS:
        raise ConfigError(f"There is no page problem '{name}'; choose one of {', '.join(PROBLEMS)}.")
    return PROBLEMS[name]
