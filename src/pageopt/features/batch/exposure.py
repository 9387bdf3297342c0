"""What was shown in the train time and what came of it, counted; slot bias and click rates of modules come from this.

Counts are of the whole traffic, before pages are sampled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import ibis.expr.types as ir
import numpy as np

from pageopt.config import SlotBiasParams
from pageopt.features.batch.module_table import smoothed_ctr
from pageopt.features.batch.sampling import EXPLORATION
from pageopt.features.slot_bias import SlotBias, examination_curves


@dataclass(frozen=True)
class Exposure:
    """One row a combination that occurs: policy, platform (objects), slot (from 0), module, and int64 counts."""

    policy: np.ndarray
    platform: np.ndarray
    slot: np.ndarray
    module: np.ndarray
    views: np.ndarray
    clicks: np.ndarray
    purchases: np.ndarray

    @classmethod
    def of(cls, pages: ir.Table, shown: ir.Table, labels: ir.Table) -> "Exposure":
        """Count the impressions `shown` on `pages` (page, policy, platform), with `labels` as `labels.label` gives."""
        keys = ["policy", "platform", "slot", "module"]
        rows = shown.join(pages.select("page", "policy", "platform"), "page")
        rows = rows.left_join(labels.select("page", "slot", "click", "purchase"), ["page", "slot"])
        counts = rows.group_by(keys).agg(
            views=rows.count(),
            clicks=rows.click.fill_null(0).cast("int64").sum(),
            purchases=rows.purchase.fill_null(0).cast("int64").sum(),
        )
        table = counts.order_by(keys).to_pyarrow()
        columns = {name: table[name].to_numpy() for name in table.column_names}
        return cls(**columns | {"slot": columns["slot"] - 1})

    def under(self, policies: Iterable[str]) -> "Exposure":
        """The rows of these policies."""
        mine = np.isin(self.policy.astype(str), list(policies))
        return Exposure(**{name: values[mine] for name, values in vars(self).items()})


def slot_bias_of(exposure: Exposure, params: SlotBiasParams, slots: int) -> tuple[SlotBias, str | None]:
    """Examination by slot from random traffic; with a note, from Thompson's, or 1 everywhere, where there is none."""
    rows, note = _least_chosen(exposure)
    platforms = sorted(set(rows.platform)) if params.by_platform else []
    views, clicks, purchases = (
        _by_slot(rows, counts, platforms, slots) for counts in (rows.views, rows.clicks, rows.purchases)
    )

    def curves(counts: dict[str, np.ndarray]) -> dict[str, list[float]]:
        by_name = examination_curves(views, counts, params.smoothing_views, slots)
        return {name: curve for name, curve in by_name.items() if name}

    seen = {"all": sum(views.values(), np.zeros(slots)), **{name: views[name] for name in platforms}}
    return SlotBias(
        slots,
        platforms,
        click=curves(clicks),
        purchase=curves(purchases),
        views={name: counts.astype(int).tolist() for name, counts in seen.items()},
    ), note


def _least_chosen(exposure: Exposure) -> tuple[Exposure, str | None]:
    """The traffic in which a slot says least about the module in it, and a note where that is not random."""
    used = next((policy for policy in EXPLORATION if (exposure.policy == policy).any()), None)
    if used is None:
        return exposure.under([]), "slot bias: no random or thompson traffic in train, so every slot has examination 1"
    note = None if used == "random" else f"slot bias: no random traffic in train, so it is measured on {used} traffic"
    return exposure.under([used]), note


def _by_slot(rows: Exposure, counts: np.ndarray, platforms: list[str], slots: int) -> dict[str, np.ndarray]:
    """`counts` `[rows]` added up by slot, `[slots]`, for each platform; without platforms of all, under no name."""
    groups = {name: rows.platform == name for name in platforms} or {"": np.ones(len(rows.slot), dtype=bool)}
    return {name: np.bincount(rows.slot[mine], weights=counts[mine], minlength=slots) for name, mine in groups.items()}


def usual_clicks(exposure: Exposure, values: Sequence[str], prior_views: float) -> dict[str, float]:
    """Clicks that a module gets each time it is shown, by its value; `values` `[M]` is one property of the modules."""
    names, code = np.unique(np.asarray(values, dtype=str), return_inverse=True)
    views, clicks = (
        np.bincount(code[exposure.module], weights=counts, minlength=len(names))
        for counts in (exposure.views, exposure.clicks)
    )
    return dict(zip(names.tolist(), smoothed_ctr(views, clicks, prior_views).tolist(), strict=True))


def module_counts(exposure: Exposure, modules: int) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Views and clicks int64 `[modules]` on exploration pages; on all, with a note, where nothing was explored."""
    rows = exposure.under(EXPLORATION)
    note = None
    if not len(rows.module):
        rows = exposure
        note = "modules: no exploration in train, so click rates are those of all traffic"
    views, clicks = (
        np.bincount(rows.module, weights=counts, minlength=modules).astype(np.int64)
        for counts in (rows.views, rows.clicks)
    )
    return views, clicks, note
