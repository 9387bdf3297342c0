"""What reports/evaluation.json holds: of each policy its figures, and how far they can be trusted."""

from dataclasses import dataclass
from typing import Self

import msgspec
from msgspec import UNSET, UnsetType

from pageopt.artefact import Artefact
from pageopt.errors import EvaluationError
from pageopt.evaluation.calibration import Bin
from pageopt.evaluation.cascade import CascadeSupport
from pageopt.evaluation.estimate import Estimate
from pageopt.evaluation.estimators import ESTIMATORS
from pageopt.evaluation.page_check import PageCheck
from pageopt.evaluation.policy_value import METRICS, Metric, Reward
from pageopt.evaluation.power import Power
from pageopt.evaluation.reward_check import RewardCheck
from pageopt.evaluation.weights import Diagnosis


class Figure(msgspec.Struct, frozen=True):
    """A value and the bounds of its interval; nulls where it is undefined."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, estimate: Estimate | None) -> Self:
        """The figure of an estimate; undefined without one."""
        return cls(None, None, None) if estimate is None else cls(estimate.value, estimate.low, estimate.high)

    @classmethod
    def exactly(cls, value: float) -> Self:
        """A value without error."""
        return cls(value, value, value)

    @property
    def estimate(self) -> Estimate | None:
        """The estimate; None where it is undefined."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return Estimate(self.value, self.low, self.high)


Optional = Figure | UnsetType


class Figures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Figures by name, of which only some are there."""

    def figure(self, name: str) -> Figure | None:
        """The figure called `name`; None where it is not there. Raises AttributeError where none is called so."""
        figure: Optional = getattr(self, name)
        return None if figure is UNSET else figure

    def figures(self) -> dict[str, Figure]:
        """All figures that are there, by name."""
        return {name: value for name in self.__struct_fields__ if isinstance(value := getattr(self, name), Figure)}


class Ranking(Figures, frozen=True, kw_only=True):
    """How well scores rank what was shown; without a label nothing is ranked."""

    auc: Optional = UNSET
    f1: Optional = UNSET
    ndcg: Optional = UNSET
    mrpr: Optional = UNSET


RANKING = Ranking.__struct_fields__


def with_estimates(base: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """`base` with an optional figure for each metric and estimator: ctr_dm, ctr_ips, … ptr_page_dr."""
    names = [f"{metric}_{estimator}" for metric in METRICS for estimator in ESTIMATORS]
    fields = [(name, Optional, UNSET) for name in names]
    return msgspec.defstruct(f"{base.__name__}WithEstimates", fields, bases=(base,), frozen=True, kw_only=True)


class ModelFigures(with_estimates(Ranking), frozen=True, kw_only=True):  # type: ignore[misc, call-arg]
    """One policy: ranking, estimated CTR and PTR, calibration, what it earned in its own log, and the truth.

    Only what the log and the policy define is there.
    """

    calibration: dict[Reward, list[Bin]] | UnsetType = UNSET
    ece_click: Optional = UNSET
    ece_purchase: Optional = UNSET
    logged_ctr: Optional = UNSET
    logged_ptr: Optional = UNSET
    true_ctr: Optional = UNSET
    true_ptr: Optional = UNSET


class Change(Figures, frozen=True, kw_only=True):
    """What one policy earns more than another, paired by page, and in truth where that is known.

    By page-aware DR where the log offers it for both: policies are judged by that, else by slot-wise DR.
    """

    ctr_dr: Figure
    ctr_dr_relative: Figure
    ptr_dr: Figure
    ptr_dr_relative: Figure
    ctr_page_dr: Optional = UNSET
    ctr_page_dr_relative: Optional = UNSET
    ptr_page_dr: Optional = UNSET
    ptr_page_dr_relative: Optional = UNSET
    true_ctr: Optional = UNSET
    true_ctr_relative: Optional = UNSET
    true_ptr: Optional = UNSET
    true_ptr_relative: Optional = UNSET


class EvaluatedOn(msgspec.Struct, frozen=True):
    """The pages behind the figures; `no_cascade_dr` says why Cascade-DR is not offered, None where it is."""

    test: int
    estimated_on: int
    users: int
    policies: list[str]
    single_slots: bool
    no_cascade_dr: str | None


class Earned(msgspec.Struct, frozen=True):
    """A logging policy on its own pages; of one that explores, the share of modules shown, and whether it is used."""

    ctr: Figure
    ptr: Figure
    pages: int
    support: float | UnsetType | None = UNSET
    used: bool | UnsetType = UNSET


@dataclass(frozen=True)
class Diagnostics(Diagnosis):
    """Whether the log can judge a policy: its weights, the rewards behind its values, and Cascade-DR's pages.

    `warnings` are those of the weights and of q̂; `cascade` is None where Cascade-DR is not offered.
    """

    matched_clicks: int
    matched_purchases: int
    cascade: CascadeSupport | None


class RankedOn(msgspec.Struct, frozen=True):
    """What the ranking metrics are of: the label, all test pages, and F1's threshold by model, None where all pass."""

    label: Reward
    pages: int
    f1_threshold: dict[str, float | None]


class Evaluation(Artefact, frozen=True):
    """reports/evaluation.json: by policy, by "a - b" of two policies, by logging policy, and by reward.

    `page_model` is None of a log without whole pages.
    """

    ERROR = EvaluationError
    MEND = "Run stage evaluate again: dvc repro evaluate"

    pages: EvaluatedOn
    models: dict[str, ModelFigures]
    differences: dict[str, Change]
    logged: dict[str, Earned]
    power: dict[str, dict[Metric, Power]]
    diagnostics: dict[str, Diagnostics]
    reward_model: dict[Reward, RewardCheck]
    ranking: RankedOn
    page_model: PageCheck | None = None
