"""The modules with how often they were shown and clicked."""

import numpy as np
import pyarrow as pa


def smoothed_ctr(views: np.ndarray, clicks: np.ndarray, prior_views: float) -> np.ndarray:
    """Clicks a view of each module, `[M]`, pulled toward the mean of all by `prior_views` views; inside (0, 1)."""
    # One click and one view without click more than there were, so that the mean is inside (0, 1) for any log.
    mean = (clicks.sum() + 1.0) / (views.sum() + 2.0)
    prior_views = max(prior_views, 1.0)
    return (clicks + prior_views * mean) / (views + prior_views)


def log_odds(probability: np.ndarray) -> np.ndarray:
    """ln(p / (1 − p)) of probabilities inside (0, 1)."""
    return np.log(probability) - np.log1p(-probability)


def module_table(modules: pa.Table, views: np.ndarray, clicks: np.ndarray, prior_views: float) -> pa.Table:
    """`modules` (sorted by module_id) with ctr, views and clicks, each `[M]`."""
    return (
        modules.append_column("ctr", pa.array(smoothed_ctr(views, clicks, prior_views), pa.float64()))
        .append_column("views", pa.array(views, pa.int64()))
        .append_column("clicks", pa.array(clicks, pa.int64()))
    )
