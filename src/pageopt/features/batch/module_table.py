"""The modules with how often they were shown and clicked."""

from typing import Any

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from pageopt.config import FeatureParams
from pageopt.contract import MODULES
from pageopt.features.schema import CTR_LOG_ODDS


def smoothed_ctr(views: np.ndarray, clicks: np.ndarray, prior_views: float) -> np.ndarray:
    """Clicks a view of each module, `[M]`, pulled toward the mean of all by `prior_views` views; inside (0, 1)."""
    # One click and one view without click more than there were, so that the mean is inside (0, 1) for any log.
    mean = (clicks.sum() + 1.0) / (views.sum() + 2.0)
    prior_views = max(prior_views, 1.0)
    return (clicks + prior_views * mean) / (views + prior_views)


def log_odds(probability: np.ndarray) -> np.ndarray:
    """ln(p / (1 − p)) of probabilities inside (0, 1)."""
    return np.log(probability) - np.log1p(-probability)


def encoder_columns(modules: pa.Table) -> dict[str, Any]:
    """The columns of `module_table` as the encoder is fitted on them."""
    columns: dict[str, Any] = {
        name: modules[name].to_numpy() if pa.types.is_floating(modules[name].type) else modules[name].to_pylist()
        for name in modules.column_names
    }
    return columns | {CTR_LOG_ODDS: log_odds(columns["ctr"])}


def module_table(
    modules: ir.Table, features: FeatureParams, views: np.ndarray, clicks: np.ndarray, prior_views: float
) -> pa.Table:
    """The contract's and the declared columns of `Logs.modules`, with ctr, views and clicks, each `[M]`."""
    own = (*MODULES.names, *(column.name for column in features.modules))
    return (
        modules.order_by("module")
        .select(*own)
        .to_pyarrow()
        .append_column("ctr", pa.array(smoothed_ctr(views, clicks, prior_views), pa.float64()))
        .append_column("views", pa.array(views, pa.int64()))
        .append_column("clicks", pa.array(clicks, pa.int64()))
    )
