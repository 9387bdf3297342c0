"""What pages of any policy would earn, page by page: the one comparison that stage and quality gate share.

encoder = Encoder.load(prepared / "encoder")
pages = load_pages(prepared / "test", encoder)
model = RewardModel.load(workspace.reward_model, threads=2)
logged = LoggedPages(pages, model, params)
candidate, other = (logged.value(modules[logged.rows]) for modules in (modules, other_modules))
gain = compare(candidate, other, params)
gain.ctr.relative.low
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pageopt.config import EvaluateParams
from pageopt.errors import EvaluationError
from pageopt.evaluation import kept_values
from pageopt.evaluation.cascade import cascade_ratio, unknown_conditionals
from pageopt.evaluation.estimate import Floats, UserBootstrap
from pageopt.evaluation.offpolicy import Difference, cascade_weights, paired
from pageopt.evaluation.page_check import PageCheck, check_pages, check_production
from pageopt.evaluation.page_reward import PageReward
from pageopt.evaluation.page_values import PageValues
from pageopt.evaluation.policy_value import METRICS, PolicyValue, Reward, Terms, comparable
from pageopt.evaluation.reward_check import RewardCheck, check_reward_model
from pageopt.evaluation.reward_model import RewardModel, fold_of, page_units
from pageopt.evaluation.weights import Weights, match_weights, stochastic_weights
from pageopt.features.encoder import EncodedPages, Encoder
from pageopt.features.pages import Pages
from pageopt.tables.digest import digest

PRODUCTION = "production"
# Of a policy that shows everything the estimated share of modules shown is 1, give or take the noise of small logs.
FULL_SUPPORT = 0.9


@dataclass(frozen=True)
class Comparison:
    """first − second, paired by page, by the estimator that both are judged by."""

    ctr: Difference
    ptr: Difference


def exploration_rows(pages: Pages, policies: Sequence[str]) -> NDArray[np.int64]:
    """Index of the pages of logging `policies` that show something and know every propensity of what they show.

    Raises EvaluationError where there is none.
    """
    known = np.isfinite(pages.propensity) | ~pages.observed
    usable = np.isin(pages.policy.astype(str), list(policies)) & pages.observed.any(axis=1) & known.all(axis=1)
    if not usable.any():
        raise EvaluationError(
            f"No page of the {len(pages)} to evaluate on was logged with propensities by a policy of {list(policies)}. "
            "Send part of the traffic to a random policy and log its propensities (see docs/power.md for how much)."
        )
    return np.flatnonzero(usable)


def fit_reward_model(
    pages: Pages,
    encoder: Encoder,
    exploring: Sequence[str],
    judging: Sequence[str],
    params: EvaluateParams,
    *,
    progress: bool = True,
) -> RewardModel:
    """q̂ for estimates on pages of the logging policies `judging`, fitted on all of `exploring` among `pages`.

    It needs no propensities, and a policy that shows some modules only still teaches.
    """
    rows = exploration_rows(pages, exploring)
    model = RewardModel.fit(
        encoder,
        pages.encoded.take(rows),
        page_units(pages.user_id[rows], pages.page_id[rows]),
        pages.module[rows],
        {"click": pages.click[rows], "purchase": pages.purchase[rows]},
        params.reward_model,
        policies=tuple(judging),
        seed=params.seed,
        threads=params.threads,
        progress=progress,
    )
    if not is_single(pages.module[rows]):
        model.page = _fit_page_reward(pages, encoder, exploration_rows(pages, judging), model.folds, params.threads)
    return model


def _fit_page_reward(pages: Pages, encoder: Encoder, rows: NDArray[np.int64], folds: int, threads: int) -> PageReward:
    fold = fold_of(page_units(pages.user_id[rows], pages.page_id[rows]), folds)
    shown, click, purchase = (part[rows] for part in (pages.module, pages.click, pages.purchase))
    return PageReward.fit(encoder, pages.encoded.take(rows), fold, shown, click, purchase, threads)


def exploration_policies(pages: Pages, held_out: Sequence[str] = ()) -> tuple[str, ...]:
    """Logging policies that explore: all but production and those `held_out`, sorted.

    A logged policy that is itself to be judged is held out: estimates of it come from the others' logs, and its own log
    stays an independent check.
    """
    return tuple(sorted({str(policy) for policy in pages.policy} - {PRODUCTION} - set(held_out)))


def support(pages: Pages, policy: str) -> float | None:
    """Share of the available modules that a logging policy could show, estimated from its log; None if unknown.

    E[1/p] of what a policy shows in a slot is the number of modules it shows there with any chance at all: for a
    random policy all candidates, for a Thompson sampler that has made up its mind far fewer. Its pages say nothing
    about what it never shows, and importance weights of a page that wants such modules miss that part of its value.
    """
    if pages.candidates is None:
        return None
    known = np.isfinite(pages.propensity) & pages.observed & (pages.policy.astype(str) == policy)[:, None]
    available = np.broadcast_to((pages.candidates >= 0).sum(axis=1)[:, None], known.shape)
    return float((1 / pages.propensity[known]).sum() / available[known].sum()) if known.any() else None


def judging_policies(support_of: Mapping[str, float | None]) -> tuple[str, ...]:
    """The logging policies whose pages the estimators use: those that show all modules, or the one that comes closest.

    `support_of` holds the share of modules that each exploring policy shows (see `support`).
    """
    known = {policy: share for policy, share in support_of.items() if share is not None}
    full = tuple(sorted(policy for policy, share in known.items() if share >= FULL_SUPPORT))
    return full or tuple(sorted(known, key=lambda policy: -known[policy])[:1])


def counted_slots(module: NDArray) -> NDArray[np.bool_]:
    """Which slots of `module [pages, slots]` count: all, or in a log of single observed slots only those."""
    observed = module >= 0
    if is_single(module):
        return observed
    return np.ones(module.shape, dtype=bool)


def is_single(module: NDArray) -> bool:
    """Whether no page of `module [pages, slots]` shows two slots though it has several."""
    return module.shape[1] > 1 and bool((module >= 0).sum(axis=1).max(initial=0) <= 1)


class LoggedPages:
    """Exploration pages of one log with q̂ of what they show, ready to judge any number of policies.

    `available [pages]` is the number of candidates, None where the log does not hold them. `kept` is the folder of the
    reward model: what `keep` wrote there is not computed again.
    """

    def __init__(
        self, pages: Pages, reward_model: RewardModel, params: EvaluateParams, kept: Path | None = None
    ) -> None:
        self.rows = exploration_rows(pages, reward_model.policies)
        self.user_id = pages.user_id[self.rows]
        self.encoded: EncodedPages = pages.encoded.take(self.rows)
        self.module = pages.module[self.rows]
        self.propensity = pages.propensity[self.rows]
        self.single = is_single(self.module)
        self._counted = counted_slots(self.module)
        self.available = None if pages.candidates is None else (pages.candidates[self.rows] >= 0).sum(axis=1)
        self._policy = pages.policy[self.rows]
        self._rewards: dict[Reward, Floats] = {
            "click": pages.click[self.rows].astype(np.float64),
            "purchase": pages.purchase[self.rows].astype(np.float64),
        }
        self._params = params
        self._model = reward_model
        self._units = page_units(self.user_id, pages.page_id[self.rows])
        self._q_logged = reward_model.predict(self.encoded, self._units, self.module)
        self._kept = kept_values.read(kept) if kept else {}

    @cached_property
    def page(self) -> PageValues | None:
        """These pages with the page-aware q̂ of what they show, where the log can have one."""
        if self._model.page is None or self.single:
            return None
        fold = fold_of(self._units, self._model.folds)
        return PageValues.of(self._model.page, self.encoded, fold, self.module, self._rewards, self._params.threads)

    def __len__(self) -> int:
        return len(self.rows)

    def check_reward_model(self) -> dict[Reward, RewardCheck]:
        """Whether q̂ of "click" and "purchase" can be trusted on these pages."""
        cross_fitted = self._model.predict(self.encoded, self._units, self.module)
        in_sample = self._model.predict_in_sample(self.encoded, self._units, self.module)
        shown, bootstrap = self.module >= 0, self.bootstrap()
        return {
            name: check_reward_model(
                name, reward, self._q_logged[name], cross_fitted[name], in_sample[name], shown, bootstrap
            )
            for name, reward in self._rewards.items()
        }

    def check_page_model(self, pages: Pages) -> PageCheck | None:
        """Whether page-aware estimates on these pages, of the test split `pages`, can be trusted; None without them."""
        if self.page is None:
            return None
        own = np.flatnonzero((pages.policy.astype(str) == PRODUCTION) & pages.observed.any(axis=1))
        fold = fold_of(page_units(pages.user_id[own], pages.page_id[own]), self._model.folds)
        rows = self.page.model.rows(pages.encoded.take(own), fold, pages.module[own])
        click = pages.click[own].astype(np.float64)
        production = check_production(self.page, self.user_id, rows, fold, pages.module[own], click, pages.user_id[own])
        return check_pages(self.page, self._q_logged["click"], self.user_id, production)

    @cached_property
    def no_cascade(self) -> str | None:
        """Why Cascade-DR is not offered on these pages, None where it is."""
        return unknown_conditionals(self._policy, self.module, self.propensity, self.available, self.single)

    def bootstrap(self) -> UserBootstrap:
        """Resamples of these pages' users, the same for every statistic."""
        return UserBootstrap.of(self.user_id, self._params)

    def decided(
        self, graph: str, candidates: NDArray[np.int64], decide: Callable[[], NDArray[np.int64]]
    ) -> NDArray[np.int64]:
        """Modules `[exploration pages, slots]` that the graph of this SHA-256 shows here: kept ones, or `decide()`."""
        key = self._key((f"candidates of {graph}", candidates))
        if key not in self._kept:
            self._kept[key] = {"modules": decide()}
        return self._kept[key]["modules"]

    def value(self, modules: NDArray) -> PolicyValue:
        """The policy that shows `modules [exploration pages, slots]` (indices, -1 where a page ends)."""
        weights = match_weights(modules, self.module, self.propensity, self._counted, self._params.max_weight)
        counted = np.where(self._counted, modules, -1)
        cascade = None
        if self.no_cascade is None and self.available is not None:
            ratio = cascade_ratio(modules, self.module, self.available)
            cascade = cascade_weights(ratio, self._params.max_cascade_weight)
        page = self._page_contributions(counted, weights.clipped)
        return self._assemble(weights, self._model.predict(self.encoded, self._units, counted), cascade, page)

    def _key(self, *named: tuple[str, NDArray]) -> str:
        """Names what follows from these pages and `named` arrays."""
        return digest([*vars(self.encoded).items(), *named])

    def _page_contributions(self, modules: NDArray[np.int64], weight: Floats) -> Mapping[Reward, Floats] | None:
        logged = [("units", self._units), ("logged", self.module), *self._rewards.items()]
        key = self._key(*logged, ("weight", weight), ("modules", modules))
        if key not in self._kept:
            if self.page is None:
                return None
            self._kept[key] = self.page.contributions(modules, weight)
        return self._kept[key]

    def keep(self, folder: Path) -> None:
        """Write what was decided, and all page-aware contributions so far, beside the reward model."""
        kept_values.write(folder, self._kept)

    def value_of_marginals(self, probability: Floats) -> PolicyValue:
        """The policy that ignores contexts and shows modules with marginals `probability [slots, modules]`.

        Marginals do not say what stands above, so the page-aware q̂ cannot be asked.
        """
        weights = stochastic_weights(probability, self.module, self.propensity, self._counted, self._params.max_weight)
        q_target: dict[str, Floats] = {name: np.zeros(self.module.shape) for name in self._rewards}
        for module in np.flatnonzero(probability.any(axis=0)):
            everywhere = np.where(self._counted & (probability[:, module] > 0), module, -1)
            for name, q in self._model.predict(self.encoded, self._units, everywhere).items():
                q_target[name] += probability[:, module] * q
        return self._assemble(weights, q_target)

    def _assemble(
        self,
        weights: Weights,
        q_target: dict[str, Floats],
        cascade: Floats | None = None,
        page: Mapping[Reward, Floats] | None = None,
    ) -> PolicyValue:
        terms = {
            name: Terms(reward, weights.clipped, self._q_logged[name], q_target[name])
            for name, reward in self._rewards.items()
        }
        click, purchase = terms["click"], terms["purchase"]
        return PolicyValue(self.rows, self.user_id, weights, click, purchase, self.single, cascade, page)


def compare(first: PolicyValue, second: PolicyValue, params: EvaluateParams) -> Comparison:
    """Paired differences with intervals over users. Raises EvaluationError unless both are of the same pages."""
    if not np.array_equal(first.rows, second.rows):
        raise EvaluationError("Two policies can be compared on the same pages only, and these were judged on others.")
    bootstrap = UserBootstrap.of(first.user_id, params)
    ctr, ptr = (paired(*comparable(first, second, metric), bootstrap) for metric in METRICS)
    return Comparison(ctr, ptr)
