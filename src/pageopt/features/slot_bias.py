"""How much less a lower slot is looked at: examination relative to the first slot.

On random traffic every module is as likely in every slot, so that what remains of the difference between slots is their
place (TRNN paper, section 4.3): θ_s = (clicks_s/views_s) / (clicks_1/views_1).
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from pageopt.artefact import Artefact
from pageopt.errors import ContractError

Kind = Literal["click", "purchase"]


def relative_examination(views: np.ndarray, clicks: np.ndarray) -> np.ndarray:
    """θ by slot, `[slots]`, from views and clicks (or purchases) by slot, `[slots]`; the first is 1.

    A slot without views has the θ of the slot above it. Without clicks in the first slot there is nothing to relate to:
    then all are 1.

    Raises:
        ContractError: arrays of different or no length, negative or non-finite counts.
    """
    views, clicks = np.asarray(views, dtype=np.float64), np.asarray(clicks, dtype=np.float64)
    if views.ndim != 1 or views.shape != clicks.shape or views.size == 0:
        raise ContractError(f"Views and clicks must be of one length above 0, not {views.shape} and {clicks.shape}.")
    if not (np.isfinite(views).all() and np.isfinite(clicks).all()) or views.min() < 0 or clicks.min() < 0:
        raise ContractError("Views and clicks by slot must be finite and not negative.")
    theta = np.ones(views.size)
    if views[0] == 0 or clicks[0] == 0:
        return theta
    first = clicks[0] / views[0]
    for slot in range(1, views.size):
        theta[slot] = clicks[slot] / views[slot] / first if views[slot] > 0 else theta[slot - 1]
    return theta


def smoothed_examination(views: np.ndarray, clicks: np.ndarray, prior: np.ndarray, prior_views: float) -> np.ndarray:
    """θ by slot after adding `prior_views` views at the click rate that the prior curve θ (`[slots]`) implies.

    The rate of the first slot is chosen so that the prior explains as many clicks as there were. With many views the
    data speaks, with none the prior does.
    """
    views, clicks = np.asarray(views, dtype=np.float64), np.asarray(clicks, dtype=np.float64)
    expected = float((views * prior).sum())
    if expected == 0 or clicks.sum() == 0:
        return np.asarray(prior, dtype=np.float64).copy()
    rate = clicks.sum() / expected * np.asarray(prior, dtype=np.float64)
    return relative_examination(views + prior_views, clicks + prior_views * rate)


def examination_curves(
    views: Mapping[str, np.ndarray], clicks: Mapping[str, np.ndarray], smoothing_views: float, slots: int
) -> dict[str, list[float]]:
    """θ of all traffic and of each platform, `{"all": [slots], platform: [slots]}`.

    The pooled curve is smoothed toward no bias at all, so that a slot that had bad luck is not taken for one that
    nobody sees; each platform is smoothed toward the pooled curve.
    """
    nothing = np.zeros(slots)
    pooled = smoothed_examination(
        sum(views.values(), nothing), sum(clicks.values(), nothing), np.ones(slots), smoothing_views
    )
    curves = {"all": pooled.tolist()}
    for platform in sorted(views):
        curve = smoothed_examination(views[platform], clicks.get(platform, nothing), pooled, smoothing_views)
        curves[platform] = curve.tolist()
    return curves


class SlotBias(Artefact, frozen=True):
    """data/prepared/slot_bias.json: θ by slot of clicks and of purchases, and views, of "all" and of each platform."""

    ERROR = ContractError
    MEND = "Run stage prepare again: dvc repro prepare"
    INDENT = 1
    ASCII = False

    slots: int
    platforms: list[str]
    click: dict[str, list[float]]
    purchase: dict[str, list[float]]
    views: dict[str, list[int]]

    def examination(self, platform: np.ndarray, kind: Kind = "click") -> np.ndarray:
        """θ float64 `[pages, slots]` for the platform names `[pages]`; a platform without a curve has that of all."""
        curves = self.click if kind == "click" else self.purchase
        names, place = np.unique(np.array([str(name) for name in platform], dtype=object), return_inverse=True)
        return np.array([curves.get(name, curves["all"]) for name in names])[place]

    def weight(self, platform: np.ndarray, max_weight: float, kind: Kind = "click") -> np.ndarray:
        """IPS weights 1/θ float64 `[pages, slots]`, at most `max_weight`."""
        return 1.0 / np.maximum(self.examination(platform, kind), 1.0 / max_weight)
