"""What is written beside a world and a cell: oracle.json and cell.json."""

from msgspec import UNSET

from pageopt.artefact import Artefact
from pageopt.errors import EvaluationError
from pageopt.evaluation.figures import Figure, Figures, Ranking, with_estimates
from pageopt.evaluation.policy_value import Metric
from pageopt.models.item.heads import Head

MEND = "Run: make experiments"


class Oracle(Artefact, frozen=True):
    """oracle.json: true CTR and PTR on the judged pages of the search for clicks, and of that for purchases."""

    ERROR = EvaluationError
    MEND = MEND
    INDENT = 1

    click: dict[Metric, float]
    purchase: dict[Metric, float]


class Searched(with_estimates(Figures), frozen=True, kw_only=True):  # type: ignore[misc, call-arg]
    """Pages of one model by one search: estimated CTR and PTR, and the true ones."""

    true_ctr: float
    true_ptr: float

    def number(self, name: str) -> float | None:
        """A true value or an estimate; None where it is undefined. Raises AttributeError where none is called so."""
        value = getattr(self, name)
        return value.value if isinstance(value, Figure) else None if value is UNSET else value


class Cell(Artefact, frozen=True, kw_only=True):
    """cell.json: the figures of one model in one world. `searches` holds "pages", and where it was asked for others."""

    ERROR = EvaluationError
    MEND = MEND
    INDENT = 1

    variant: str
    name: str
    seed: int
    kind: str
    title: str
    objective: Head
    seconds: float
    judged_pages: int
    oracle: Oracle
    ranking: Ranking
    searches: dict[str, Searched]
