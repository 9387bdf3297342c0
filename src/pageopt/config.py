"""What params.yaml may hold: one frozen model a section, unknown keys forbidden.

A stage reads its own sections and hands them on as values; no object holds them all.
"""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pageopt.errors import ConfigError

Share = Field(ge=0, le=1)
Kind = Literal["click", "watch", "cart", "purchase"]
Loss = Literal["click", "intent", "purchase", "attributed"]


class Section(BaseModel):
    """A section of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class ShopParams(Section):
    """Scale and truth of the simulated shop."""

    pages: int = Field(gt=0)
    days: int = Field(gt=0)
    users: int = Field(gt=0)
    items: int = Field(gt=0)
    categories: int = Field(gt=1)
    modules: int = Field(gt=0)
    families: int = Field(gt=1)
    slots: int = Field(gt=0)
    available: int = Field(gt=0, description="mean number of modules available on a page")
    traffic: dict[Literal["random", "thompson", "production"], float]
    page_effects: Literal["none", "content", "family", "clicks", "below"] = Field(
        default="content", description="how modules of a page act on each other"
    )
    slot_bias: float = Field(ge=0, default=1.0, description="how fast examination fades down the page; 0: not at all")
    personal: float = Field(ge=0, le=0.75, default=0.5, description="share of the pull that is the person's own taste")
    mood: float = Field(ge=0, le=0.25, default=0.1, description="share of the pull that shows in nothing")
    off_mission: float = Field(ge=0, le=1, default=0.2, description="share of pages whose hero is off the mission")
    purchases: float = Field(gt=0, default=1.0, description="odds of a purchase given a click, relative to usual")
    thompson_diversity: Literal["swap", "demote"] | None = "swap"
    propensity_samples: int = Field(gt=0, description="Monte Carlo rankings a Thompson snapshot's propensities rest on")

    @model_validator(mode="after")
    def _traffic_sums_to_one(self) -> "ShopParams":
        if abs(sum(self.traffic.values()) - 1) > 1e-9 or min(self.traffic.values()) < 0:
            raise ValueError(f"traffic must be shares that sum to 1, not {self.traffic}")
        return self


class ObdParams(Section):
    """Which part of the Open Bandit Dataset to read."""

    campaign: Literal["all", "men", "women"] = "all"
    propensity_samples: int = Field(gt=0, default=100_000)


class PageParams(Section):
    """Which kind of page the workflow is about; see `pageopt.problems`."""

    problem: str


class CollectParams(Section):
    """Which source of logs, and its settings."""

    source: Literal["simulator", "obd", "parquet"]
    folder: Path
    seed: int
    simulator: ShopParams
    obd: ObdParams


class CheckParams(Section):
    """How many bad rows are too many."""

    max_bad_share: float = Share
    slots: int | None = Field(gt=0, description="slots of the page; null: the deepest slot that 1 % of pages fill")


class FeatureColumn(Section):
    """A further column of a table, declared as a feature."""

    name: str
    kind: Literal["categorical", "numeric", "text"]


class FeatureParams(Section):
    """Further columns, by table; their names must differ from each other and from the contract's."""

    pages: tuple[FeatureColumn, ...] = ()
    items: tuple[FeatureColumn, ...] = ()
    modules: tuple[FeatureColumn, ...] = ()
    users: tuple[FeatureColumn, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> "FeatureParams":
        names = [column.name for column in (*self.pages, *self.items, *self.users)]
        if len(set(names)) < len(names):
            raise ValueError(f"features of pages, items and users share one name space; repeated: {sorted(names)}")
        return self


class AttributionParams(Section):
    """η and ε of the attribution weight η^((t_p - t_c)/(ε·T)) (paper section 4.4)."""

    decay: float = Field(gt=0, lt=1)
    scale: float = Field(gt=0)


class SlotBiasParams(Section):
    """Smoothing and clipping of the slot weights (paper section 4.5)."""

    by_platform: bool
    smoothing_views: float = Field(ge=0)
    max_weight: float = Field(ge=1)


class SamplingParams(Section):
    """Keep-rates of the training split (paper section 4.1)."""

    seed: int
    no_interaction_rate: float = Field(gt=0, le=1)
    production_to_exploration: float = Field(ge=0)


class SplitParams(Section):
    """Shares of the pages, in time order."""

    train: float = Field(gt=0, lt=1)
    valid: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _sums_to_one(self) -> "SplitParams":
        if abs(self.train + self.valid + self.test - 1) > 1e-9:
            raise ValueError("train, valid and test must sum to 1")
        return self


class CounterParams(Section):
    """Decayed counters of a user: see `pageopt.features.counters.CounterLayout`."""

    half_lives_hours: tuple[float, ...] = Field(min_length=1)
    kinds: tuple[Kind | Literal["view"], ...]
    topics: int = Field(ge=0, description="what items are about, learned from their titles, categories and brands")
    lifts: tuple[Literal["module_id", "family", "algorithm", "theme", "recall"], ...]
    lift_half_lives_hours: tuple[float, ...] = Field(min_length=1)
    prior_clicks: float = Field(gt=0)


class EncoderParams(Section):
    """Sizes of vocabularies and of titles."""

    min_count: int = Field(ge=1)
    title_tokens: int = Field(ge=1)
    vocabulary: int = Field(ge=1)


class PrepareParams(Section):
    """Everything between checked tables and tensors, and the resources it may use."""

    session_gap_minutes: float = Field(gt=0)
    purchase_window_hours: float = Field(gt=0)
    attribution: AttributionParams
    slot_bias: SlotBiasParams
    sampling: SamplingParams
    split: SplitParams
    counters: CounterParams
    encoder: EncoderParams
    memory_limit: str
    threads: int = Field(gt=0)


class TrainParams(Section):
    """Architecture, size, losses and optimiser of the page network."""

    architecture: Literal["trnn", "mlp", "transformer"] = "trnn"
    seed: int
    threads: int = Field(gt=0)
    epochs: int = Field(gt=0)
    patience: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    width: int = Field(gt=0, description="size of the hidden layers and of what is kept of the modules above")
    embedding: int = Field(gt=0, description="size of the embeddings of modules, families and page categoricals")
    dropout: float = Field(ge=0, lt=1, description="share of the user's counters dropped while training")
    averaging: float = Field(ge=0, lt=1, description="share of the averaged weights that a step keeps; 0: no average")
    bf16: bool
    losses: tuple[Loss, ...]
    loss_weights: Literal["learned", "equal"]
    slot_ips: bool
    above: Literal["auto", "chosen", "hidden"]
    pairs: bool = Field(default=True, description="whether modules above act on a module pair by pair: our addition")
    above_dropout: float = Field(ge=0, lt=1, description="above auto: share of steps without the modules above")


class SearchParams(Section):
    """The beam search of the page (paper section 5.2)."""

    width: int = Field(gt=0)
    beam_start: int = Field(gt=0)
    objective: Literal["click", "intent", "purchase"]


class RewardNetworkParams(Section):
    """The reward model as a network."""

    epochs: int = Field(default=6, gt=0)
    width: int = Field(default=64, gt=0)
    learning_rate: float = Field(default=0.002, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)


class RewardModelParams(Section):
    """The cross-fitted q̂: folds are those of the page-aware one too; all else is of the slot-wise one, of its trees."""

    kind: Literal["xgboost", "mlp"] = "xgboost"
    folds: int = Field(ge=2)
    rounds: int = Field(gt=0)
    depth: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    network: RewardNetworkParams = RewardNetworkParams()


class EvaluateParams(Section):
    """Estimators, their clipping and their intervals."""

    seed: int
    threads: int = Field(gt=0)
    bootstrap: int = Field(gt=0)
    confidence: float = Field(gt=0, lt=1)
    max_weight: float = Field(ge=1)
    max_cascade_weight: float = Field(default=1000.0, ge=1, description="cut of Cascade-DR's products of weights")
    reward_model: RewardModelParams


class SimulatePagesParams(Section):
    """Size of the fixed pool of contexts."""

    seed: int
    pages: int = Field(gt=0)


class ExportParams(Section):
    """Limits of the exported graph."""

    pass_tolerance: float = Field(gt=0)
    max_candidates: int = Field(gt=0)


class DataGate(Section):
    """Contract, volume and freshness; null is shown and not judged."""

    min_pages: int = Field(ge=0)
    min_clicks: int = Field(ge=0)
    max_age_days: float | None
    max_event_lag_hours: float | None


class QualityGate(Section):
    """Limits are relative changes: -0.05 allows a loss of 5 %. Null leaves the comparison out of the verdict.

    `ptr_over_static` is asked where the log would see a gain of `ptr_gain_seen` in 8 of 10 cases; where it would not,
    `ptr_without_power` is. The best version of the last `best_of_days` days is held to the champion's limits too.
    """

    ctr_over_static: float | None
    ptr_over_static: float | None
    ptr_gain_seen: float = Field(gt=0)
    ptr_without_power: float
    ctr_over_champion: float | None
    ptr_over_champion: float | None
    best_of_days: int = Field(ge=0)


class ParityGate(Section):
    """Largest difference of a probability between PyTorch and ONNX."""

    tolerance: float = Field(gt=0)


class LatencyGate(Section):
    """Budgets in milliseconds, the ratio to the champion, and how long to measure."""

    p99_ms: float = Field(gt=0)
    http_p99_ms: float = Field(gt=0)
    ratio_to_champion: float = Field(gt=0)
    calls: int = Field(gt=0)
    http_seconds: float = Field(gt=0)
    http_concurrency: int = Field(gt=0)


class DriftGate(Section):
    """Largest distances of score distributions and family exposure from the champion's."""

    psi: float = Field(gt=0)
    jensen_shannon: float = Field(gt=0)
    wasserstein: float = Field(gt=0)


class GatesParams(Section):
    """The limits of the five gates."""

    data: DataGate
    quality: QualityGate
    parity: ParityGate
    latency: LatencyGate
    drift: DriftGate


class ExperimentsParams(Section):
    """Scale of the experiments: worlds of the shop in `collect.simulator`, models of section `train`."""

    seeds: dict[str, tuple[int, ...]] = Field(description="by group of shops; each is a shop and a log of its own")
    log_pages: int = Field(gt=0, description="pages of each log, unless its shop says more or less")
    judged_pages: int = Field(gt=0, description="pages of the test split that every model decides")
    exploration_pages: int = Field(gt=0, description="pages of each run of an exploration policy")
    bootstrap: int = Field(gt=0)
    looks: int = Field(gt=0, description="how often a simulated A/B test is looked at")
    processes: int = Field(gt=0, description="shops at a time")
    threads: int = Field(gt=0, description="of each")

    @model_validator(mode="after")
    def _seeds_differ(self) -> "ExperimentsParams":
        for group, seeds in self.seeds.items():
            if len(set(seeds)) < max(2, len(seeds)):
                raise ValueError(f"seeds.{group} must be two or more that differ, not {list(seeds)}")
        return self


class Choice(Section):
    """One of several values, all equally likely."""

    choice: tuple[int | float | str | bool, ...] = Field(min_length=1)


class Range(Section):
    """A number from `low` to `high`, evenly on the scale of its logarithm if `log`."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"a range goes up from low to high, on a log scale above 0: not {self.low}..{self.high}")
        return self


class TuneParams(Section):
    """A random search over `space`: `train` params by name, each a list of values or a range."""

    trials: int = Field(gt=0)
    seed: int
    space: dict[str, Choice | Range] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_train_params(self) -> "TuneParams":
        unknown = sorted(set(self.space) - set(TrainParams.model_fields))
        if unknown:
            raise ValueError(f"space holds {unknown}, which section train does not have")
        return self


class ReleaseParams(Section):
    """What is released under which name."""

    preset: str = Field(description="the scale last chosen with PRESET=, shown in summaries")
    model_name: str = Field(pattern=r"^[a-z0-9-]+$")


SECTIONS: dict[str, type[Section]] = {
    "page": PageParams,
    "collect": CollectParams,
    "check": CheckParams,
    "features": FeatureParams,
    "prepare": PrepareParams,
    "train": TrainParams,
    "search": SearchParams,
    "evaluate": EvaluateParams,
    "simulate_pages": SimulatePagesParams,
    "export": ExportParams,
    "gates": GatesParams,
    "experiments": ExperimentsParams,
    "tune": TuneParams,
    "release": ReleaseParams,
}

SectionT = TypeVar("SectionT", bound=Section)


def read(path: Path, within: str = "") -> dict[str, Any]:
    """The keys of a YAML file of the project, in the folder `within`. Raises ConfigError where it cannot be read."""
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        fix = f"git checkout -- {within or path.name}"
        raise ConfigError(f"{path} is missing. Take it from the repository: {fix}") from None
    except YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold sections such as 'train:', not {type(content).__name__}.")
    return content


def load(path: Path, section: type[SectionT]) -> SectionT:
    """The section of `path` that `section` models. Raises ConfigError that names the key, its value and the rule."""
    name = next(key for key, model in SECTIONS.items() if model is section)
    content = read(path)
    if name not in content:
        raise ConfigError(f"{path} has no section '{name}'. Take it from the repository's params.yaml.")
    return checked(section, content[name] or {}, path, name)


def checked(section: type[SectionT], content: object, path: Path, *at: str) -> SectionT:
    """`content`, that of `path` below the keys `at`, as a section. Raises ConfigError as `load` does."""
    try:
        return section.model_validate(content)
    except ValidationError as error:
        where = [f"  {'.'.join(map(str, (*at, *e['loc'])))}{_told(e)}" for e in error.errors()]
        raise ConfigError(f"{path} cannot be used:\n" + "\n".join(where)) from None


def _told(error: ErrorDetails) -> str:
    """What is wrong with a key, to stand behind its name."""
    if error["type"] == "missing":
        return " is missing. Take it from the repository's params.yaml."
    if error["type"] == "extra_forbidden":
        return f" = {error['input']!r}: there is no such param. Correct its name, or take it out."
    # Of a rule between several keys the input is all of them; the message names what matters.
    value = "" if isinstance(error["input"], dict) else f" = {error['input']!r}"
    return f"{value}: {error['msg']}"


def check_all(path: Path) -> None:
    """Validate every section, and that there is no other. Raises ConfigError."""
    unknown = sorted(set(read(path)) - set(SECTIONS))
    if unknown:
        raise ConfigError(f"{path} has unknown sections {unknown}; known are {sorted(SECTIONS)}.")
    for model in SECTIONS.values():
        load(path, model)


def apply(path: Path, overlay: Path) -> list[str]:
    """Write the values of `overlay` over those of `path`, keeping its comments. Returns the keys that changed."""
    editor = YAML()
    editor.width = 120
    target = editor.load(path.read_text(encoding="utf-8"))
    changed: list[str] = []

    def merge(into: dict, values: dict, prefix: str) -> None:
        for key, value in values.items():
            if key not in into:
                raise ConfigError(f"{overlay} sets {prefix}{key}, which {path.name} does not have.")
            if isinstance(value, dict) and isinstance(into[key], dict):
                merge(into[key], value, f"{prefix}{key}.")
            elif into[key] != value:
                into[key] = value
                changed.append(f"{prefix}{key}")

    merge(target, read(overlay), "")
    if changed:
        with path.open("w", encoding="utf-8") as file:
            editor.dump(target, file)
    return changed
