"""The page-aware q̂: the chance that a module is clicked, or bought from, in a slot, given the whole page; cross-fitted.

    P(click at s) = σ(base + rows(x, a, s) · β + κ_s · clicks expected above)
    P(purchase at s) = P(click at s) · P(purchase | click)

rows are those of `page_design`. What stands above acts on clicks; of a purchase given its click only the context is
asked. Folds are by user, as in `reward_model`. How freely pairs of modules may speak is chosen by the loss on pages
held out, so that where modules do not act on each other they stay all but silent; so is whether modules below count.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import expit, logit

from pageopt.errors import EvaluationError
from pageopt.evaluation.block_curvature import BlockCurvature
from pageopt.evaluation.estimate import Floats
from pageopt.evaluation.logistic import fit_logistic
from pageopt.evaluation.page_design import PageDesign
from pageopt.evaluation.page_matrix import PageMatrix
from pageopt.evaluation.reward_check import log_loss
from pageopt.evaluation.threads import side_by_side
from pageopt.features.encoder import EncodedPages, Encoder

STRENGTHS = (10_000.0, 1000.0, 300.0, 100.0, 30.0, 10.0, 3.0)
"""What a pair of modules may be held near 0 by, the strictest first."""
_SURE = 3.0  # standard errors by which modules below must lower the loss to be heard


@dataclass(frozen=True)
class Fold:
    """Coefficients fitted on the pages of all other folds; `base` and `bought` are log-odds that no prior holds."""

    base: float
    clicks: Floats  # [columns]
    bought: float
    purchases: Floats  # [columns of the context]

    def by_click(self, design: PageDesign) -> Floats:
        """κ `[K]`: log-odds that a click above adds in each slot."""
        block = self.clicks[design.blocks["clicks"]]
        return block[:-1] + block[-1]


@dataclass(frozen=True)
class PageRows:
    """Some pages as rows, one for each module shown, each page as the model of its fold sees it.

    Attributes:
        matrix: `[n, columns]`, of clicks above as the models expect them.
        page, slot: `[n]`.
        click, conversion: `[pages, K]` P(click) and P(purchase | click), 0 where a slot is empty.
        effect: `[pages, K]` log-odds of a click that the rest of the page gives, clicks above included.
    """

    matrix: PageMatrix
    page: NDArray[np.int64]
    slot: NDArray[np.int64]
    click: Floats
    conversion: Floats
    effect: Floats


@dataclass(frozen=True)
class PageReward:
    """The fitted model; `strength` is what was chosen among STRENGTHS."""

    design: PageDesign
    strength: float
    folds: tuple[Fold, ...]

    @classmethod
    def fit(
        cls,
        encoder: Encoder,
        encoded: EncodedPages,
        fold: NDArray[np.int64],
        module: NDArray,
        click: NDArray,
        purchase: NDArray,
        threads: int = 1,
    ) -> "PageReward":
        """Fit on logged pages, best of a policy that shows all modules at random.

        `fold [pages]`, from 0 on, says by which model a page will be scored; `module`, `click` and `purchase` are
        `[pages, K]`, -1 where a slot is empty. Figures do not depend on `threads`. Raises EvaluationError where a fold
        has no click to learn from.
        """
        count = int(fold.max()) + 1
        for held_out in range(count):
            shown = module[fold != held_out] >= 0
            if not 0 < click[fold != held_out][shown].sum() < shown.sum():
                raise EvaluationError(
                    f"Fold {held_out} of {count} of the page-aware reward model has no click to learn from, or nothing "
                    "but clicks. Evaluate on more pages, or lower evaluate.reward_model.folds."
                )
        lesson = _Lesson.of(PageDesign.of(encoder, around=False), encoded, fold, module, click)
        strength, folds, losses = lesson.strongest(STRENGTHS, threads)
        around = _Lesson.of(PageDesign.of(encoder, around=True), encoded, fold, module, click)
        if losses.mean() > around.strongest([strength], threads)[2].mean():
            stricter = STRENGTHS.index(strength) - 1  # more has to be learned of a page of which more counts
            tried = around.strongest(STRENGTHS[max(stricter, 0) :], threads)
            gain = losses - tried[2]
            if gain.mean() > _SURE * gain.std() / np.sqrt(len(gain)):
                lesson, (strength, folds, _) = around, tried
        folds = [lesson.with_purchases(number, each, purchase, strength) for number, each in enumerate(folds)]
        return cls(lesson.design, strength, tuple(folds))

    def rows(self, encoded: EncodedPages, fold: NDArray[np.int64], module: NDArray) -> PageRows:
        """Pages `module [pages, K]`, each by the model of its `fold [pages]`."""
        page, slot = np.nonzero(module >= 0)
        matrix = self.design.rows(encoded, module, page, slot)
        chance, above, given, effect = (np.zeros(module.shape) for _ in range(4))
        context = self.design.blocks["above"].start
        for number, fitted in enumerate(self.folds):
            own = fold == number
            here = np.flatnonzero(own[page])
            rows, at = matrix[here], (page[here], slot[here])
            place = np.cumsum(own) - 1  # of a page among those of the fold
            chance[own], above[own] = _clicks(self.design, fitted, rows, place[at[0]], at[1], module[own])
            beside = fitted.clicks.copy()
            beside[:context] = 0
            given[at] = expit(fitted.bought + rows @ np.pad(fitted.purchases, (0, len(beside) - context)))
            effect[at] = rows.with_clicks(above[at]) @ beside
        return PageRows(matrix.with_clicks(above[page, slot]), page, slot, chance, given, effect)

    def save(self, file: Path) -> None:
        """Write as safetensors; the same model gives the same bytes."""
        arrays = {
            "family": self.design.family,
            "alike": self.design.alike,
            "cardinalities": np.array(self.design.cardinalities, dtype=np.int64),
            "shape": np.array([self.design.slots, self.design.around], dtype=np.int64),
            "strength": np.array([self.strength]),
            "base": np.array([[fold.base, fold.bought] for fold in self.folds]),
            "clicks": np.stack([fold.clicks for fold in self.folds]),
            "purchases": np.stack([fold.purchases for fold in self.folds]),
        }
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, file)

    @classmethod
    def load(cls, file: Path) -> "PageReward":
        """Read what `save` wrote. Raises EvaluationError where it cannot."""
        try:
            arrays = load_file(file)
            slots, around = arrays["shape"].tolist()
            cardinalities = tuple(arrays["cardinalities"].tolist())
            design = PageDesign(arrays["family"], arrays["alike"], cardinalities, slots, bool(around))
            folds = zip(arrays["base"].tolist(), arrays["clicks"], arrays["purchases"], strict=True)
            return cls(
                design,
                float(arrays["strength"][0]),
                tuple(Fold(base, clicks, bought, purchases) for (base, bought), clicks, purchases in folds),
            )
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise EvaluationError(
                f"{file} holds no page-aware reward model ({error}). Run: dvc repro evaluate"
            ) from None


def _clicks(
    design: PageDesign, fitted: Fold, matrix: PageMatrix, page: NDArray, slot: NDArray, module: NDArray
) -> tuple[Floats, Floats]:
    """P(click) of all pages by one model, and clicks expected above, `[pages, K]` each."""
    log_odds, by_click = np.zeros(module.shape), fitted.by_click(design)
    log_odds[page, slot] = fitted.base + matrix @ fitted.clicks
    chance, above = np.zeros(module.shape), np.zeros(module.shape)
    total = np.zeros(len(module))
    for place in range(module.shape[1]):
        above[:, place] = total
        here = expit(log_odds[:, place] + by_click[place] * total)
        chance[:, place] = np.where(module[:, place] >= 0, here, 0.0)
        total = total + chance[:, place]
    return chance, above


@dataclass(frozen=True)
class _Lesson:
    """Logged pages to learn from, as rows of one design without clicks above."""

    design: PageDesign
    matrix: PageMatrix
    page: NDArray[np.int64]
    slot: NDArray[np.int64]
    fold: NDArray[np.int64]
    module: NDArray[np.int64]
    click: NDArray
    curvature: BlockCurvature

    @classmethod
    def of(cls, design: PageDesign, encoded: EncodedPages, fold: NDArray, module: NDArray, click: NDArray) -> "_Lesson":
        page, slot = np.nonzero(module >= 0)
        rows, rate = design.rows(encoded, module, page, slot), float(click[page, slot].mean(dtype=np.float64))
        curvature = BlockCurvature.of(
            rows.with_clicks(rate * slot.astype(np.float64)), rate * (1 - rate), design.groups
        )
        return cls(design, rows, page, slot, fold, module, click, curvature)

    def silent(self) -> list[Fold]:
        """Models that know the rate of clicks of their pages only."""
        folds = []
        for number in range(int(self.fold.max()) + 1):
            clicked = self.click[self.page, self.slot][self.fold[self.page] != number]
            base = float(logit(clicked.mean(dtype=np.float64)))
            folds.append(Fold(base, np.zeros(self.design.columns), 0.0, np.zeros(0)))
        return folds

    def strongest(self, strengths: Sequence[float], threads: int) -> tuple[float, list[Fold], Floats]:
        """The one of `strengths`, strictest first, with the lowest loss of pages held out; its models and their losses.

        Weaker priors are tried until two in a row do not lower it: what pairs know shows late where they are many.
        """
        # What is expected above follows from a fit, and a fit from what is expected above: each starts from the last.
        tried = self.at(strengths[0], self.silent(), threads)[0]
        best, folds, losses, worse = strengths[0], tried, np.full(len(self.fold), np.inf), 0
        for strength in strengths:
            tried, tried_losses = self.at(strength, tried, threads)
            if tried_losses.mean() < losses.mean():
                best, folds, losses, worse = strength, tried, tried_losses, 0
            else:
                worse += 1
            if worse == 2:
                break
        return best, folds, losses

    def at(self, strength: float, start: Sequence[Fold], threads: int) -> tuple[list[Fold], Floats]:
        """Models of every fold, and the loss `[pages]` of each page by the model that has not seen it."""
        penalty, losses = self.design.penalty(strength), np.zeros(len(self.fold))
        folds = side_by_side(lambda number: self._fitted(number, start[number], penalty), range(len(start)), threads)
        for number, fitted in enumerate(folds):
            own, clicked = self.fold == number, (self.click > 0).astype(np.float64)
            losses[own] = log_loss(clicked, self._clicks(fitted)[0], self.module >= 0).sum(axis=1)[own]
        return folds, losses

    def _fitted(self, number: int, fitted: Fold, penalty: Floats) -> Fold:
        """`fitted` once more, on the pages of all folds but `number`."""
        taught = np.flatnonzero(self.fold[self.page] != number)
        above = self._clicks(fitted)[1][self.page, self.slot]
        rows = self.matrix[taught].with_clicks(above[taught])
        label = self.click[self.page, self.slot][taught]
        root = self.curvature.root(penalty, len(taught) / len(self.page))
        return replace(fitted, clicks=fit_logistic(rows, label, penalty, fitted.base, fitted.clicks, root))

    def with_purchases(self, number: int, fitted: Fold, purchase: NDArray, strength: float) -> Fold:
        """`fitted` with purchases given a click, learned from the clicks of the pages it was fitted on."""
        clicked = np.flatnonzero((self.fold[self.page] != number) & (self.click[self.page, self.slot] > 0))
        bought = (purchase[self.page, self.slot] > 0)[clicked]
        context = self.design.blocks["above"].start
        # Half a purchase more, and half a click more without one: no purchase in the log is a small chance, not none.
        base = float(logit((bought.sum() + 0.5) / (len(bought) + 1)))
        penalty, matrix = self.design.penalty(strength)[:context], self.matrix[clicked].tocsr()[:, :context]
        root = BlockCurvature.of(matrix, float(bought.mean() * (1 - bought.mean())), self.design.groups[:context])
        purchases = fit_logistic(
            matrix, bought.astype(np.float64), penalty, base, np.zeros(context), root.root(penalty)
        )
        return replace(fitted, bought=base, purchases=purchases)

    def _clicks(self, fitted: Fold) -> tuple[Floats, Floats]:
        return _clicks(self.design, fitted, self.matrix, self.page, self.slot, self.module)
