"""What is asked, what is compared with what, and the paper's figures: experiments/tables.yaml."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from pageopt.config import Section, checked, read
from pageopt.errors import ConfigError

RANKING = ("auc", "f1", "ndcg", "mrpr")
OFFLINE = ("ctr_dm", "ptr_dm", "ctr_dr", "ptr_dr")
ONLINE = ("ctr_online", "ptr_online")
BEAM = "pages"
"""The search that every model's pages are made by."""


class Side(Section):
    """One side of a comparison: a model's pages by one of its searches, or an exploration policy."""

    model: str | None = None
    search: Literal["pages", "late", "greedy"] = "pages"
    policy: str | None = None
    title: str | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> "Side":
        if (self.model is None) == (self.policy is None):
            raise ValueError("name a model or a policy, one of the two")
        return self


class Row(Side):
    """A comparison and the paper's relative changes in percent, by metric."""

    variant: Literal["effects", "plain", "steep"] = "effects"
    against: Side | None = None
    paper: dict[Literal[RANKING + OFFLINE + ONLINE], float] = Field(default={})  # type: ignore[valid-type]


class Question(Section):
    """A question in true values: the share of the oracle's uplift of one model, or one model against another.

    `demand` is the least share, "more" (the interval lies above zero) or "alike" (it contains zero); None where nothing
    is demanded.
    """

    ask: str
    variant: Literal["effects", "plain", "steep"] = "effects"
    share: Side | None = None
    model: str | None = None
    against: Side | None = None
    demand: float | Literal["more", "alike"] | None = None

    @model_validator(mode="after")
    def _asks_one_thing(self) -> "Question":
        compared = self.model is not None and self.against is not None
        if compared == (self.share is not None):
            raise ValueError("ask for a 'share', or for a 'model' with 'against'")
        if isinstance(self.demand, float) != (self.share is not None) and self.demand is not None:
            raise ValueError(f"demand {self.demand!r} does not go with the question")
        return self


class Table(Section):
    """Rows of one table; `online` says that an A/B test is simulated for each."""

    id: str
    title: str
    rows: tuple[Row, ...]
    against: Side | None = None
    online: bool = False

    @model_validator(mode="after")
    def _every_row_has_another_side(self) -> "Table":
        for row in self.rows:
            if self.against is None and row.against is None:
                raise ValueError(f"{row.model or row.policy} is compared with nothing: add 'against'")
        return self

    def baseline(self, row: Row) -> Side:
        """What `row` is compared with."""
        side = row.against or self.against
        if side is None:
            raise ConfigError(f"Table {self.id}: {row.model or row.policy} is compared with nothing.")
        return side


class Plan(Section):
    """All that the report answers."""

    questions: tuple[Question, ...]
    tables: tuple[Table, ...]


def plan(root: Path) -> Plan:
    """The questions and tables of a project. Raises ConfigError that names the entry and the key."""
    file = root / "experiments" / "tables.yaml"
    return checked(Plan, read(file, "experiments"), file)
