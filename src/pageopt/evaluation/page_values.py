"""What pages of any policy would earn, by the page-aware q̂, on logged pages: contributions `[pages]` to a mean.

    ψ = Σ_s q̂(x, π_1..π_K) + (w_s + α_s) · (r_s − q̂(x, a_1..a_K))

w_s = 1[a_s = π_s]/p_s corrects what q̂ gets wrong of a module in its slot, averaged over what a log shows around it. A
policy shows something else around it, and there an error of q̂ about pairs is left. α_s corrects that one: with
q̂ = σ(zᵀβ), an error δ of β moves the mean by gᵀδ, where g is the gradient of the mean of ψ without α; and with H the
curvature of the fit, α = zᵀH⁻¹g of a logged slot makes the mean of α·(r − q̂), on pages that β has not seen, equal to
−gᵀδ, but for the prior's part in H. (The Riesz representer of debiased machine learning: Chernozhukov, Newey and Singh,
Econometrica 2022.) What q̂ does not know of pairs is so in the spread of ψ over pages, and an interval holds it.

Purchases are q̂ times P(purchase | click), and α corrects them by clicks, which are many times more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pageopt.evaluation.block_curvature import BlockCurvature
from pageopt.evaluation.estimate import Floats
from pageopt.evaluation.logistic import solve_curvature
from pageopt.evaluation.page_reward import PageReward, PageRows
from pageopt.evaluation.policy_value import Reward
from pageopt.evaluation.threads import side_by_side
from pageopt.features.encoder import EncodedPages

LOOSER = (100.0, 30.0, 10.0, 3.0, 1.0)
"""How much weaker the prior may be for α than for q̂: what α leaves uncorrected falls with it, and intervals widen."""
WIDER = 2.0
"""By how much they may. α is as loose as this allows, so that pairs a log seldom holds are left to q̂."""
_STRICTEST = 1000.0  # prior of q̂ that α goes by: where pairs seem silent, they may still be wrong by a little


@dataclass(frozen=True)
class PageValues:
    """Logged pages with the page-aware q̂ of what they show.

    Attributes:
        model: cross-fitted; page p is scored by the model of `fold [pages]`.
        encoded: contexts of the pages.
        logged: what the log shows, `[pages, K]`, with the model's view of it in `rows`.
        rewards: "click" and "purchase", `[pages, K]`.
        threads: rewards at a time; figures do not depend on it.
    """

    model: PageReward
    encoded: EncodedPages
    fold: NDArray[np.int64]
    logged: NDArray[np.int64]
    rewards: dict[Reward, Floats]
    rows: PageRows
    curvature: BlockCurvature
    threads: int

    @classmethod
    def of(
        cls,
        model: PageReward,
        encoded: EncodedPages,
        fold: NDArray[np.int64],
        logged: NDArray[np.int64],
        rewards: dict[Reward, Floats],
        threads: int = 1,
    ) -> "PageValues":
        """Score the logged pages."""
        rows = model.rows(encoded, fold, logged)
        slope = (rows.click * (1 - rows.click))[rows.page, rows.slot].mean()
        curvature = BlockCurvature.of(rows.matrix, float(slope), model.design.groups)
        return cls(model, encoded, fold, logged, rewards, rows, curvature, threads)

    def contributions(self, modules: NDArray[np.int64], weight: Floats) -> dict[Reward, Floats]:
        """ψ `[pages]` of the policy that shows `modules [pages, K]`, by reward; w is `weight [pages, K]`."""
        rows, target = self.rows, self.model.rows(self.encoded, self.fold, modules)
        missed = self.rewards["click"] - rows.click
        bought = self.rewards["purchase"] - rows.click * rows.conversion
        clicks = target.click + weight * missed
        purchases = target.click * target.conversion + weight * bought
        plain = np.stack([clicks.sum(axis=1), purchases.sum(axis=1)], axis=1)  # [pages, rewards]
        # What a unit of q̂ is worth on either page: a click, or the purchases that follow from one.
        wanted = self.gradients(target, self.fold, [np.ones_like(target.click), target.conversion])
        held = self.gradients(rows, self.fold, [weight, weight * rows.conversion])
        gradients = wanted - held

        def corrected(k: int) -> Floats:
            for looser in LOOSER:
                tried = plain[:, k] + (self.alpha(gradients[..., k], looser) * missed).sum(axis=1)
                if tried.std() <= WIDER * plain[:, k].std():
                    return tried
            return plain[:, k]

        click, purchase = side_by_side(corrected, range(2), self.threads)
        return {"click": click, "purchase": purchase}

    def alpha(self, gradients: Floats, looser: float) -> Floats:
        """α `[pages, K]`: Σ α·(r − q̂) over a fold's pages takes back what an error of its β does to a sum.

        `gradients [folds, columns]` are those of the sum; `looser` is one of LOOSER.
        """
        rows = self.rows
        alpha = np.zeros(rows.click.shape)
        slope = (rows.click * (1 - rows.click))[rows.page, rows.slot]
        penalty = self.model.design.penalty(min(self.model.strength, _STRICTEST) / looser)
        for number in range(len(gradients)):
            own = self.fold == number
            taught = np.flatnonzero(~own[rows.page])
            right = gradients[number] * ((~own).sum() / own.sum())
            root = self.curvature.root(penalty, len(taught) / len(slope))
            solved = solve_curvature(rows.matrix[taught], slope[taught], penalty, right, root)
            here = np.flatnonzero(own[rows.page])
            alpha[rows.page[here], rows.slot[here]] = rows.matrix[here] @ solved
        return alpha

    def gradients(self, rows: PageRows, fold: NDArray[np.int64], worth: Sequence[Floats]) -> Floats:
        """Of Σ worth · q̂ over the pages of each fold by its β, `[folds, columns, k]`, for k of `worth [pages, K]`.

        Through the clicks expected above as well: more of them change what is clicked further down.
        """
        slope = rows.click * (1 - rows.click)
        gradients = np.zeros((len(self.model.folds), self.model.design.columns, len(worth)))
        for number, fitted in enumerate(self.model.folds):
            own = fold == number
            by_click = fitted.by_click(self.model.design)
            here = np.flatnonzero(own[rows.page])
            columns = rows.matrix[here].T
            for k, each in enumerate(worth):
                onwards, moved = each.copy(), np.zeros_like(slope)  # moved: by a unit of log-odds in a slot
                for place in range(slope.shape[1] - 1, -1, -1):
                    moved[:, place] = onwards[:, place] * slope[:, place]
                    onwards[:, :place] += (by_click[place] * moved[:, place])[:, None]
                gradients[number, :, k] = columns @ moved[rows.page[here], rows.slot[here]]
        return gradients
