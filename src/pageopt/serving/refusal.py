"""What a caller gets in place of an answer."""

import msgspec

from pageopt.errors import RequestError


class Problem(msgspec.Struct, frozen=True):
    """What was wrong, the path of its field in the body ("" where no field is to blame), and what to send instead."""

    field: str
    message: str
    fix: str


class Refusal(msgspec.Struct, frozen=True):
    """The body of every answer that is not 200."""

    error: Problem


def refusal(error: RequestError) -> Refusal:
    """What a caller is told of `error`."""
    return Refusal(Problem(error.field, str(error), error.fix))
