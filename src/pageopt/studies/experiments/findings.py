"""What reports/experiments.json holds."""

import math
from typing import Any, Literal, Self

import msgspec
from msgspec import UNSET, UnsetType

from pageopt.artefact import Artefact
from pageopt.config import ExperimentsParams
from pageopt.errors import EvaluationError
from pageopt.evaluation.abtest import Lift
from pageopt.evaluation.estimate import Estimate
from pageopt.evaluation.figures import Figures, with_estimates
from pageopt.evaluation.policy_value import Metric
from pageopt.models.item.heads import Head
from pageopt.studies.experiments.figures import MEND
from pageopt.studies.experiments.lifts import OverSeeds, Word

_PARAMS = [(name, field.annotation) for name, field in ExperimentsParams.model_fields.items()]
_Experiments = msgspec.defstruct("_Experiments", _PARAMS, frozen=True, kw_only=True)


class Settings(_Experiments, frozen=True, kw_only=True):  # type: ignore[misc, valid-type, call-arg]
    """The params that the figures depend on, those of section experiments first; `seconds` is what the run took."""

    objective: Head
    confidence: float
    modules: int
    families: int
    slots: int
    available: int
    seconds: float | None


class Answer(msgspec.Struct, frozen=True):
    """A question in a line; `reached` is None where nothing is demanded. The figure is of true values, over seeds."""

    question: str
    answer: str
    reached: bool | None
    shop: str
    demand: float | str | None
    figure: OverSeeds | None


class CurvePoint(msgspec.Struct, frozen=True):
    """What was found `at` a value of what a curve is over."""

    at: str
    figure: OverSeeds


class CurveLine(msgspec.Struct, frozen=True):
    """A line of a curve."""

    title: str
    points: list[CurvePoint]


class CurveFindings(msgspec.Struct, frozen=True):
    """A claim over its knob, in the metric that pages are made for."""

    id: str
    title: str
    x: str
    lines: list[CurveLine]


class Compared(msgspec.Struct, frozen=True):
    """Our lift of a metric, the paper's in percent, and the word on it."""

    lift: OverSeeds | None
    paper: float | None
    word: Word | None


class AbLift(msgspec.Struct, frozen=True):
    """A lift of an A/B test (`pageopt.evaluation.abtest.Lift`); None stands for what is not finite."""

    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    statistic: float | None
    control: float
    treatment: float
    difference: Estimate
    users_by_arm: tuple[int, int]
    pages_by_arm: tuple[int, int]

    @classmethod
    def of(cls, lift: Lift) -> Self:
        """The lift as the report holds it."""
        finite: dict[str, Any] = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in vars(lift).items()
        }
        return cls(**finite)


class AbLook(msgspec.Struct, frozen=True):
    """A look of a sequential test (`pageopt.evaluation.abtest.Look`)."""

    information: float
    boundary: float
    statistic: float
    value: float | None
    crossed: bool


class AbMetric(msgspec.Struct, frozen=True):
    """The lift of all pages, and each look up to the one where the test may stop; or `why` there is no test."""

    lift: AbLift | None
    looks: list[AbLook] | UnsetType = UNSET
    stopped: bool | UnsetType = UNSET
    why: str | UnsetType = UNSET


class AbTest(msgspec.Struct, frozen=True):
    """A simulated A/B test of a row."""

    users: int
    pages: int
    sample_ratio_p: float
    ctr: AbMetric
    ptr: AbMetric


class RowFindings(msgspec.Struct, frozen=True):
    """A row of a table; `test` only where the table is online."""

    title: str
    against: str
    shop: str
    metrics: dict[str, Compared]
    test: AbTest | UnsetType = UNSET


class TableFindings(msgspec.Struct, frozen=True):
    """A table of the paper beside ours."""

    id: str
    title: str
    online: bool
    rows: list[RowFindings]


class ModelFindings(msgspec.Struct, frozen=True, kw_only=True):
    """A model over seeds; `share` is that of the knowable uplift over the static page, of models that learn."""

    title: str
    true_ctr: OverSeeds | None
    true_ptr: OverSeeds | None
    ctr_dr: OverSeeds | None
    ptr_dr: OverSeeds | None
    auc: OverSeeds | None
    f1: OverSeeds | None
    ndcg: OverSeeds | None
    mrpr: OverSeeds | None
    share: OverSeeds | None
    seconds: float


class EstimatorFindings(msgspec.Struct, frozen=True):
    """An estimator over all cells of a shop: bias and RMSE relative to the true value, coverage of its intervals,
    and Kendall's τ between estimates and true values of the models of a seed, mean over seeds.
    """

    cells: int
    bias: float
    rmse: float
    coverage: float
    kendall: float | None


class _OfCell(Figures, frozen=True, kw_only=True):
    shop: str
    name: str
    kind: str
    title: str
    seed: int
    seconds: float


class CellPoint(with_estimates(_OfCell), frozen=True, kw_only=True):  # type: ignore[misc, call-arg]
    """What the plots of estimates against truth show of a cell."""

    true_ctr: float
    true_ptr: float


class Findings(Artefact, frozen=True):
    """reports/experiments.json."""

    ERROR = EvaluationError
    MEND = MEND
    INDENT = 1
    ASCII = False

    settings: Settings
    rule: str
    shops: dict[str, str]
    questions: list[Answer]
    curves: list[CurveFindings]
    tables: list[TableFindings]
    models: dict[str, dict[str, ModelFindings]]
    estimators: dict[str, dict[Metric, dict[str, EstimatorFindings]]]
    cells: list[CellPoint]

    @property
    def words(self) -> dict[Literal["agrees", "disagrees", "undecided"], int]:
        """How many of the paper's figures each word was said of."""
        said = [metric.word for table in self.tables for row in table.rows for metric in row.metrics.values()]
        return {word: said.count(word) for word in ("agrees", "disagrees", "undecided")}
