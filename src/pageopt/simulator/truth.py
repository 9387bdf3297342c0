"""The exact value of any page of a simulated log, from the truth beside it."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from pageopt.config import ShopParams
from pageopt.errors import EvaluationError
from pageopt.policies.greedy import EMPTY
from pageopt.simulator.catalog import CONTENT, Catalog, build
from pageopt.simulator.model import ClickModel, Intent
from pageopt.simulator.tables import SCHEMAS, SHOP_KEY

_PAGES_AT_ONCE = 20_000


@dataclass(frozen=True)
class TrueShop:
    """A shop made again from the truth beside its log."""

    catalog: Catalog
    model: ClickModel
    module_ids: tuple[str, ...]


def expected(source: Path | pa.Table, page_ids: np.ndarray, modules: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True click and purchase probabilities of ordered pages.

    The sum over slots, averaged over pages, is the true CTR and PTR of the policy that chose them. A purchase counts
    whether or not the log's reader can trace it.

    Args:
        source: data/raw of a simulated log, or its truth table (schema metadata included).
        page_ids: `[P]` page ids.
        modules: `[P, K]` module ids, or indices in the order of module_id, from top to bottom; -1, None or NaN where a
            slot is empty.

    Returns:
        P(click) and P(purchase), `[P, K]` float64 each, 0 where a slot is empty.

    Raises:
        EvaluationError: no truth in `source`, a page or a module that the shop does not have, more slots than it has.
    """
    shop, intent = visits(source, page_ids)
    slots, pages = shop.catalog.params.slots, len(intent.stage)
    modules = _indices(modules, shop.module_ids)
    if modules.ndim != 2 or len(modules) != pages or modules.shape[1] > slots:
        raise EvaluationError(f"modules must be [{pages} pages, at most {slots} slots], not {list(modules.shape)}.")
    click, purchase = np.zeros(modules.shape), np.zeros(modules.shape)
    for start in range(0, pages, _PAGES_AT_ONCE):
        part = slice(start, start + _PAGES_AT_ONCE)
        click[part], purchase[part] = shop.model.expected(intent.take(part), modules[part])
    return click, purchase


def visits(source: Path | pa.Table, page_ids: np.ndarray) -> tuple[TrueShop, Intent]:
    """The shop of a simulated log, and what its model reads of some pages. Arguments and errors as `expected`."""
    truth = source if isinstance(source, pa.Table) else read(source)
    shop = true_shop(truth.schema)
    pages = np.asarray(page_ids)
    at = pc.index_in(pa.array(pages.tolist(), pa.string()), truth["page_id"].combine_chunks())
    if at.null_count:
        missing = pages[np.asarray(at.is_null())][:3].tolist()
        raise EvaluationError(f"{at.null_count} pages, such as {missing}, are not in the truth of this log.")
    return shop, _intent(shop.catalog, truth.take(at))


def read(folder: Path) -> pa.Table:
    """The truth beside a log, `folder` data/raw. Raises EvaluationError where there is none."""
    parts = sorted((folder / "truth").glob("*.parquet"))
    if not parts:
        raise EvaluationError(
            f"{folder / 'truth'} holds no tables: only simulated logs know true values. Run with SOURCE=simulator."
        )
    return pa.concat_tables([pq.read_table(part, partitioning=None) for part in parts])


def true_shop(schema: pa.Schema) -> TrueShop:
    """The shop that the schema of a truth table describes. Raises EvaluationError where it is none."""
    described = (schema.metadata or {}).get(SHOP_KEY)
    absent = sorted(set(SCHEMAS["truth"].names) - set(schema.names))
    if described is None or absent:
        raise EvaluationError(
            f"This is not a truth table of the simulator (columns absent: {absent}; shop "
            f"{'described' if described else 'not described'} in its metadata). Collect the log again."
        )
    return _rebuilt(described)


@lru_cache(maxsize=2)
def _rebuilt(described: bytes) -> TrueShop:
    shop = json.loads(described)
    try:
        params = ShopParams.model_validate(shop["params"])
    except ValidationError:
        raise EvaluationError(
            "The truth beside this log is of a shop that this version does not know. Collect the log again: "
            "dvc repro --force --single-item collect"
        ) from None
    catalog = build(params, shop["seed"])
    return TrueShop(catalog, ClickModel(catalog), tuple(catalog.modules.ids.to_pylist()))


def _indices(modules: np.ndarray, ids: tuple[str, ...]) -> np.ndarray:
    modules = np.asarray(modules)
    if modules.dtype.kind in "iu":
        indices = modules.astype(np.int64)
    else:
        named = pa.array(modules.ravel().tolist(), pa.string(), from_pandas=True)  # None and NaN are null
        place = pc.index_in(named, pa.array(ids))
        unknown = pc.and_(pc.is_valid(named), pc.is_null(place))
        if pc.any(unknown).as_py():
            raise EvaluationError(f"Module {named.filter(unknown)[0].as_py()!r} is not in the simulated shop.")
        indices = place.fill_null(EMPTY).to_numpy(zero_copy_only=False).astype(np.int64).reshape(modules.shape)
    if indices.size and not (indices.min() >= EMPTY and indices.max() < len(ids)):
        raise EvaluationError(f"Module indices must lie in -1..{len(ids) - 1}, not {indices.min()}..{indices.max()}.")
    return indices


def _intent(catalog: Catalog, rows: pa.Table) -> Intent:
    def column(name: str) -> np.ndarray:
        return rows[name].combine_chunks().to_numpy(zero_copy_only=False)

    direction = rows["direction"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return Intent(
        platform=column("platform").astype(np.int64),
        hero_category=column("hero_category").astype(np.int64),
        category=column("category").astype(np.int64),
        direction=direction.reshape(-1, CONTENT),
        family=catalog.family_pull(column("person")),
        stage=column("stage"),
    )
