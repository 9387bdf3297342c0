"""What a log of the shop shows of its pages: who came when and to what, what was shown, and what was clicked.

The log names no sessions. Pages of one user on one platform are of one session if no gap between them is longer than
the shop's longest.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pageopt.errors import EvaluationError
from pageopt.policies.greedy import EMPTY
from pageopt.simulator.catalog import PLATFORMS, Catalog
from pageopt.simulator.contexts import LONGEST_GAP, SECOND
from pageopt.simulator.shop import Logs

NOBODY = -1


@dataclass(frozen=True)
class Shown:
    """Pages in time order, `[P]` unless said otherwise."""

    page_id: pa.Array
    user: np.ndarray  # int64, NOBODY where the log names none
    platform: np.ndarray  # int64 index into PLATFORMS
    hero_item: np.ndarray  # int64
    modules: np.ndarray  # int64 [P, slots]
    clicked: np.ndarray  # int64 [P, slots] item that was clicked, EMPTY where nothing was
    session: np.ndarray  # int64
    place: np.ndarray  # int64, of the page in its session, from 0

    def rows(self, page_ids: np.ndarray) -> np.ndarray:
        """Where pages are. Raises EvaluationError where the log does not hold them."""
        at = pc.index_in(pa.array(np.asarray(page_ids).tolist(), pa.string()), self.page_id)
        if at.null_count:
            raise EvaluationError(f"{at.null_count} of the pages are not in the log. Take page ids of the same log.")
        return np.asarray(at, dtype=np.int64)


def shown(log: Path | Logs, catalog: Catalog) -> Shown:
    """What the log, data/raw or in memory, shows of the shop `catalog`."""
    pages = _table(log, "pages", ["page_id", "user_id", "ts", "platform", "hero_item_id"]).sort_by("ts")
    page_id = pages["page_id"].combine_chunks()
    ts = pages["ts"].cast(pa.int64()).to_numpy()
    known = pages["user_id"].combine_chunks().dictionary_encode()
    user = known.indices.fill_null(NOBODY).to_numpy(zero_copy_only=False).astype(np.int64)
    platform = _places(pages["platform"], pa.array(PLATFORMS))
    modules = np.full((len(page_id), catalog.params.slots), EMPTY, dtype=np.int64)
    clicked = modules.copy()
    impressions = _table(log, "impressions", ["page_id", "slot", "module_id"])
    clicks = _table(log, "events", ["page_id", "slot", "item_id"], pc.field("kind") == "click")
    for target, rows, of, ids in (
        (modules, impressions, "module_id", catalog.modules.ids),
        (clicked, clicks, "item_id", catalog.items.ids),
    ):
        target[_places(rows["page_id"], page_id), rows["slot"].to_numpy() - 1] = _places(rows[of], ids)
    session, place = _sessions(user, platform, ts)
    return Shown(
        page_id=page_id,
        user=user,
        platform=platform,
        hero_item=_places(pages["hero_item_id"], catalog.items.ids),
        modules=modules,
        clicked=clicked,
        session=session,
        place=place,
    )


def _table(log: Path | Logs, name: str, columns: list[str], only: pc.Expression | None = None) -> pa.Table:
    if isinstance(log, Path):
        if not any((log / name).glob("*.parquet")):
            raise EvaluationError(f"{log / name} holds no tables: what a log shows is read from the whole log.")
        return ds.dataset(log / name).to_table(columns, filter=only)
    table: pa.Table = getattr(log, name)
    return (table if only is None else table.filter(only)).select(columns)


def _places(values: pa.ChunkedArray, ids: pa.Array) -> np.ndarray:
    return np.asarray(pc.index_in(values, ids), dtype=np.int64)


def _sessions(user: np.ndarray, platform: np.ndarray, ts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Session and place in it, `[P]` each."""
    order = np.lexsort((ts, platform, user))
    who, where, when = user[order], platform[order], ts[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (who[1:] != who[:-1]) | (where[1:] != where[:-1]) | (np.diff(when) > (LONGEST_GAP + 1) * SECOND)
    new |= who == NOBODY
    number = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    session, place = np.empty_like(number), np.empty_like(number)
    session[order], place[order] = number, np.arange(len(order)) - first[number]
    return session, place
