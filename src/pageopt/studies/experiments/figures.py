"""What is written of a cell."""

from msgspec import UNSET, Struct, UnsetType

from pageopt.artefact import Artefact
from pageopt.errors import EvaluationError
from pageopt.evaluation.figures import Figure, Figures, Ranking, with_estimates
from pageopt.models.item.heads import Head

MEND = "Run: make experiments"


class Searched(with_estimates(Figures), frozen=True, kw_only=True):  # type: ignore[misc, call-arg]
    """Pages of one model by one search: estimated CTR and PTR where the shop asks for them, and the true ones."""

    true_ctr: float
    true_ptr: float

    def number(self, name: str) -> float | None:
        """A true value or an estimate; None where it is undefined. Raises AttributeError where none is called so."""
        value = getattr(self, name)
        return value.value if isinstance(value, Figure) else None if value is UNSET else value


class Share(Struct, frozen=True):
    """Of the knowable uplift in what pages are made for, with its interval over the users of the log."""

    value: float
    low: float
    high: float


class Cell(Artefact, frozen=True, kw_only=True):
    """<model>.json: the figures of one model in one world. `searches` holds "pages", and where it was asked for others.

    `share` is of models that learn, in shops that hold the static page by true worth and the Bayes page.
    """

    ERROR = EvaluationError
    MEND = MEND
    INDENT = 1

    shop: str
    name: str
    seed: int
    kind: str
    title: str
    objective: Head
    seconds: float
    judged_pages: int
    ranking: Ranking | UnsetType = UNSET
    share: Share | UnsetType = UNSET
    searches: dict[str, Searched]
