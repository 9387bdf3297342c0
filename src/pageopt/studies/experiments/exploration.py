"""What exploration policies earn while they explore (paper sections 4.2 and 8).

Each policy runs alone in the shop of a seed, in daily batches from its own clicks, on the same visits: full
randomisation, Thompson sampling as it is, and with each of the two diversity strategies.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from pageopt.config import CollectParams, ExperimentsParams, ShopParams, load
from pageopt.simulator import Logs, Shop, truth
from pageopt.studies.experiments.values import PageValues, write_values
from pageopt.workspace import Workspace

FILE = "pages.parquet"
POLICIES: dict[str, dict[str, str | None]] = {
    "random": {},
    "thompson": {"thompson_diversity": None},
    "thompson_swap": {"thompson_diversity": "swap"},
    "thompson_demote": {"thompson_diversity": "demote"},
}


def folder_of(root: Path, seed: int) -> Path:
    """Where the runs of a seed lie below the project's `root`."""
    return root / "experiments" / "exploration" / str(seed)


def explore(project: Workspace, seed: int) -> None:
    """Write pages.parquet: the true values of every page that each policy showed."""
    params, pages = load(project.params, CollectParams).simulator, load(project.params, ExperimentsParams)
    values: dict[str, PageValues] = {}
    visits = pa.table({})
    for name, changed in POLICIES.items():
        policy = "random" if name == "random" else "thompson"
        shop = Shop(ShopParams.model_validate(params.model_dump() | changed), seed)
        log = shop.logs(policy, pages.exploration_pages)
        visits = log.pages
        values[name] = _values(log, params.slots)
    folder = folder_of(project.root, seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_values(
        folder / FILE,
        page_id=visits["page_id"].to_numpy(),
        user_id=visits["user_id"].to_numpy(),
        ts=visits["ts"].cast(pa.int64()).to_numpy(),
        values=values,
    )


def _values(log: Logs, slots: int) -> PageValues:
    """The exact chances of what each page shows."""
    page_ids = log.pages["page_id"].to_numpy()
    modules = np.full((len(page_ids), slots), None, dtype=object)
    row = pd.Index(page_ids).get_indexer(log.impressions["page_id"].to_numpy())
    modules[row, log.impressions["slot"].to_numpy() - 1] = log.impressions["module_id"].to_numpy()
    return PageValues(*truth.expected(log.truth, page_ids, modules))
