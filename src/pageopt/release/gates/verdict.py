"""What a gate says: a verdict with its value, its limit and its reason, made of checks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Check:
    """One comparison of a gate. `value` and `limit` are null where nothing could or need be compared."""

    name: str
    passed: bool
    value: float | None
    limit: float | None
    why: str

    def __post_init__(self) -> None:
        for name in ("value", "limit"):
            number = getattr(self, name)
            if number is not None:
                number = float(number)  # NumPy scalars are no JSON
                object.__setattr__(self, name, number if math.isfinite(number) else None)
        object.__setattr__(self, "passed", bool(self.passed))

    @classmethod
    def at_most(cls, name: str, value: float, limit: float | None, said: str, bound: str = "{:g} allowed") -> "Check":
        """Passed where `value` (not NaN) is no more than `limit`, or none is set; `bound` is the limit in words."""
        if limit is None:
            return cls(name, True, value, None, f"{said}; no limit set, not judged")
        return cls(name, value <= limit, value, limit, f"{said}, {bound.format(limit)}")

    @classmethod
    def none_of(cls, name: str, count: int, said: str) -> "Check":
        """Passed where there is none."""
        return cls(name, count == 0, count, 0, said)


@dataclass(frozen=True)
class Verdict(Check):
    """A gate's verdict: passed if all its checks are. Value, limit and reason are those of the check that decided."""

    checks: tuple[Check, ...] = field(default=())

    @classmethod
    def of(cls, name: str, checks: Sequence[Check]) -> "Verdict":
        """The verdict of `checks`: decided by the first that failed, else by the first that compared something."""
        failed = [check for check in checks if not check.passed]
        compared = [check for check in checks if check.limit is not None and check.value is not None]
        decisive = (failed or compared or list(checks))[0]
        reasons = failed or [decisive]
        return cls(name, not failed, decisive.value, decisive.limit, "; ".join(c.why for c in reasons), tuple(checks))


def passed(verdicts: Sequence[Verdict]) -> bool:
    """Whether every gate let the candidate through."""
    return all(verdict.passed for verdict in verdicts)


def reason(verdicts: Sequence[Verdict]) -> str:
    """Why a candidate was rejected: the gates that failed, each with its reason."""
    return "; ".join(f"{verdict.name}: {verdict.why}" for verdict in verdicts if not verdict.passed)
