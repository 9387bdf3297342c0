"""The one exception tree of the package.

Every message says what was wrong, where (file, row, field), and what to do about it. The command line prints the
message without a traceback and exits with the class's `exit_code`; the endpoint turns `RequestError` into a 4xx answer.

    PageoptError
    ├── ConfigError
    ├── ContractError
    ├── SourceError
    ├── TrainingError
    ├── EvaluationError
    ├── ExportError
    ├── ReleaseError
    │   └── Rejected
    ├── NotComparableError
    ├── StageError
    ├── RequestError
    └── StoreError
"""


class PageoptError(Exception):
    """Base of everything this package raises on purpose."""

    exit_code = 1


class ConfigError(PageoptError):
    """A value in params.yaml, or on the command line, cannot be used."""

    exit_code = 2


class ContractError(PageoptError):
    """A table breaks the data contract in a way that quarantining rows cannot mend."""

    exit_code = 2


class SourceError(PageoptError):
    """A source of logs cannot be read."""

    exit_code = 2


class TrainingError(PageoptError):
    """Training cannot start or go on: no usable rows, a loss that is not finite, a checkpoint of another run."""


class EvaluationError(PageoptError):
    """An estimate cannot be made from the arrays or logs given."""


class ExportError(PageoptError):
    """The page graph could not be exported, or an exported bundle cannot be loaded."""


class ReleaseError(PageoptError):
    """Registering, promoting, building or smoke-testing failed."""


class Rejected(ReleaseError):  # noqa: N818 - the name of the flow's final state
    """The candidate failed a gate; the champion is as before."""

    exit_code = 3


class NotComparableError(PageoptError):
    """The champion cannot decide the candidate's pages; the message says why."""


class StageError(PageoptError):
    """A stage, or DVC around it, ended with an error; the message holds the last lines printed."""


class RequestError(PageoptError):
    """A request to the endpoint that is answered with a 4xx: what was wrong, where, and what to send instead.

    `field` is the field's path in the body, `fix` what to send, `status` the HTTP status.
    """

    def __init__(self, message: str, *, field: str, fix: str, status: int = 400) -> None:
        super().__init__(message)
        self.field = field
        self.fix = fix
        self.status = status


class StoreError(PageoptError):
    """Events could not be written to their file."""
