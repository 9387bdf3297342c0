"""What is asked, what is compared with what, and the paper's figures: experiments/questions.yaml and tables.yaml."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from pageopt.config import Section, checked, read
from pageopt.errors import ConfigError
from pageopt.studies.experiments.plans import FOLDER

RANKING = ("auc", "f1", "ndcg", "mrpr")
OFFLINE = ("ctr_dm", "ptr_dm", "ctr_dr", "ptr_dr")
ONLINE = ("ctr_online", "ptr_online")
BEAM = "pages"
"""The search that every model's pages are made by."""
TABLES = "tables"
"""The shop of the paper's tables, and the group of seeds of the exploration policies."""


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

    shop: str = TABLES
    against: Side | None = None
    paper: dict[Literal[RANKING + OFFLINE + ONLINE], float] = Field(default={})  # type: ignore[valid-type]


class Gain(Section):
    """One model's pages against another's."""

    model: str
    against: str


class Asked(Section):
    """What is asked of a shop in true values, one of three.

    `share`: of the knowable uplift, of a model. `model` with `against`: the relative change. With `of` as well: the
    change of one pair as a part of that of another, such as what features of users gain of what exact taste would.
    """

    share: str | None = None
    model: str | None = None
    against: str | None = None
    of: Gain | None = None

    @property
    def gain(self) -> Gain | None:
        """The pair that is compared."""
        return Gain(model=self.model, against=self.against) if self.model and self.against else None

    @property
    def models(self) -> tuple[str, ...]:
        """All that have to be there for an answer."""
        pairs = [pair for pair in (self.gain, self.of) if pair]
        return tuple(filter(None, [self.share, *(side for pair in pairs for side in (pair.model, pair.against))]))

    @model_validator(mode="after")
    def _asks_one_thing(self) -> "Asked":
        if (self.gain is not None) == (self.share is not None):
            raise ValueError("ask for a 'share', or for a 'model' with 'against'")
        return self


class Question(Asked):
    """A question and what its answer should be.

    `demand` is the least share or part, "more" (the interval lies above zero), "less" (below), "alike" (within
    ±0.5 %) or "no more" (up to that above); None where nothing is demanded.
    """

    ask: str
    shop: str = "default"
    demand: float | Literal["more", "less", "alike", "no more"] | None = None

    @model_validator(mode="after")
    def _demand_fits(self) -> "Question":
        if self.demand is not None and isinstance(self.demand, float) != (self.gain is None or self.of is not None):
            raise ValueError(f"demand {self.demand!r} does not go with the question")
        return self


class Line(Asked):
    """A line of a curve."""

    title: str


class Curve(Section):
    """What is asked, over shops that differ in one thing, `x`; `shops` by its value."""

    id: str
    title: str
    x: str
    shops: dict[str, str] = Field(min_length=2)
    lines: tuple[Line, ...] = Field(min_length=1)


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


class Asks(Section):
    """questions.yaml."""

    questions: tuple[Question, ...]
    curves: tuple[Curve, ...]


class Tables(Section):
    """tables.yaml."""

    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Plan:
    """All that the report answers."""

    questions: tuple[Question, ...]
    curves: tuple[Curve, ...]
    tables: tuple[Table, ...]


def plan(root: Path) -> Plan:
    """The questions, curves and tables of a project. Raises ConfigError that names the entry and the key."""
    questions, tables = (root / FOLDER / name for name in ("questions.yaml", "tables.yaml"))
    asked = checked(Asks, read(questions, FOLDER), questions)
    shown = checked(Tables, read(tables, FOLDER), tables)
    return Plan(asked.questions, asked.curves, shown.tables)
