"""The simulated log as Arrow tables in the data contract's form, and the truth beside it."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from pageopt.contract import TABLES
from pageopt.policies.greedy import EMPTY
from pageopt.simulator.behaviour import KINDS, NONE, Events
from pageopt.simulator.catalog import CONTENT, PLATFORMS, Catalog
from pageopt.simulator.contexts import DAY, START, Contexts
from pageopt.simulator.traffic import Snapshot

_TIME = pa.timestamp("us", tz="UTC")
_NAME = pa.string()

CONTRACT = ("modules", "items", "pages", "impressions", "events")
SCHEMAS: Mapping[str, pa.Schema] = {
    **{name: pa.schema([(c.name, c.arrow_type) for c in TABLES[name].columns]) for name in CONTRACT},
    "truth": pa.schema(
        {
            "page_id": _NAME,
            "platform": pa.int8(),
            "hero_category": pa.int16(),
            "category": pa.int16(),
            "direction": pa.list_(pa.float32(), CONTENT),
            "person": pa.int32(),
            "stage": pa.float32(),
        }
    ),
    "exploration": pa.schema(
        {
            "ts": _TIME,
            "segment": _NAME,
            "platform": _NAME,
            "module_id": _NAME,
            "alpha": pa.float64(),
            "beta": pa.float64(),
            "slot": pa.int32(),
            "probability": pa.float64(),
        }
    ),
}
SHOP_KEY = b"pageopt.shop"


class Tables:
    """Turns batches into tables. Repeated strings are dictionary-encoded; `plain` gives the contract's types."""

    def __init__(self, catalog: Catalog, policies: tuple[str, ...]) -> None:
        self._catalog = catalog
        self._users = pa.array([f"u{number:07d}" for number in range(catalog.params.users)])
        self._policies = pa.array(policies)
        self._platforms = pa.array(PLATFORMS)
        self._kinds = pa.array(KINDS)
        counts = catalog.candidate_count
        self._available = [catalog.candidates[group, : counts[group]].astype(np.int32) for group in range(len(counts))]

    def modules(self) -> pa.Table:
        """Every module, by module_id."""
        modules = self._catalog.modules
        family = [modules.family_names[number] for number in modules.family]
        columns = [modules.ids, family, modules.algorithms, modules.themes, modules.recalls]
        return pa.table(columns, schema=SCHEMAS["modules"])

    def items(self) -> pa.Table:
        """Every item, by item_id."""
        items = self._catalog.items
        category = [self._catalog.categories[number] for number in items.category]
        return pa.table([items.ids, items.titles, category, items.brands, items.price], schema=SCHEMAS["items"])

    def pages(self, contexts: Contexts, policy: np.ndarray) -> pa.Table:
        """One row a page; `policy` `[P]` is an index into the policies."""
        size = self._catalog.candidate_count[contexts.group]
        available = np.concatenate([self._available[group] for group in contexts.group])
        offsets = np.concatenate([[0], np.cumsum(size)]).astype(np.int32)
        candidates = pa.ListArray.from_arrays(offsets, _coded(available, self._catalog.modules.ids))
        return _table(
            page_id=page_ids(contexts),
            user_id=self._user_ids(contexts),
            ts=pa.array(contexts.ts, _TIME),
            platform=_coded(contexts.platform, self._platforms),
            hero_item_id=self._catalog.items.ids.take(pa.array(contexts.hero_item)),
            policy=_coded(policy, self._policies),
            candidates=candidates,
        )

    def impressions(self, contexts: Contexts, modules: np.ndarray, propensity: np.ndarray) -> pa.Table:
        """One row a filled slot; `modules` and `propensity` are `[P, slots]`, a NaN propensity is null."""
        page, slot = np.nonzero(modules != EMPTY)
        return _table(
            page_id=_coded(page, page_ids(contexts)),
            slot=pa.array(slot + 1, pa.int32()),
            module_id=_coded(modules[page, slot], self._catalog.modules.ids),
            propensity=pa.array(propensity[page, slot], pa.float64(), from_pandas=True),
        )

    def events(self, contexts: Contexts, events: Events) -> pa.Table:
        """One row an event, in time order. The event_id says which click it came from."""
        numbers = contexts.number[events.source]
        letters = np.array([kind[0] if kind != "cart" else "b" for kind in KINDS])[events.kind]  # b: into the basket
        ids = [
            f"e{number:09d}.{slot + 1}{letter}"
            for number, slot, letter in zip(
                numbers.tolist(), events.source_slot.tolist(), letters.tolist(), strict=True
            )
        ]
        return _table(
            event_id=pa.array(ids, _NAME),
            ts=pa.array(events.ts, _TIME),
            user_id=self._user_ids(contexts).take(pa.array(events.source)),
            kind=_coded(events.kind, self._kinds),
            page_id=page_ids(contexts).take(_nullable(events.page)),
            module_id=_coded(events.module, self._catalog.modules.ids),
            slot=pa.array(events.slot + 1, pa.int32(), mask=events.slot == NONE),
            item_id=self._catalog.items.ids.take(pa.array(events.item)),
            price=pa.array(self._catalog.items.price[events.item]),
        )

    def truth(self, contexts: Contexts) -> pa.Table:
        """What the true model reads of each page; the schema's metadata holds the shop's params and seed."""
        schema = SCHEMAS["truth"]
        columns = [
            page_ids(contexts),
            contexts.platform.astype(np.int8),
            contexts.hero_category.astype(np.int16),
            contexts.category.astype(np.int16),
            pa.FixedSizeListArray.from_arrays(pa.array(contexts.direction.ravel()), CONTENT),
            contexts.person.astype(np.int32),
            contexts.stage,
        ]
        shop = {"params": self._catalog.params.model_dump(mode="json"), "seed": self._catalog.seed}
        return pa.table(columns, schema=schema.with_metadata({SHOP_KEY: json.dumps(shop, sort_keys=True).encode()}))

    def exploration(self, snapshots: Sequence[Snapshot]) -> pa.Table:
        """The marginal propensities of Thompson snapshots: one row a module and slot, `ts` is when it was taken."""
        slots = self._catalog.params.slots
        size = np.array([len(snapshot.candidates) for snapshot in snapshots], dtype=np.int64) * slots
        day, group = (
            np.repeat(np.array([getattr(snapshot, name) for snapshot in snapshots], dtype=np.int64), size)
            for name in ("day", "group")
        )
        module, alpha, beta = (
            np.repeat(_joined([getattr(snapshot, name) for snapshot in snapshots]), slots)
            for name in ("candidates", "alpha", "beta")
        )
        return _table(
            ts=pa.array(START + day * DAY, _TIME),
            segment=_coded(group // len(PLATFORMS), pa.array(self._catalog.categories)),
            platform=_coded(group % len(PLATFORMS), self._platforms),
            module_id=_coded(module, self._catalog.modules.ids),
            alpha=pa.array(alpha, pa.float64()),
            beta=pa.array(beta, pa.float64()),
            slot=pa.array(np.arange(len(day)) % slots + 1, pa.int32()),
            probability=pa.array(_joined([snapshot.probability.ravel() for snapshot in snapshots]), pa.float64()),
        )

    def _user_ids(self, contexts: Contexts) -> pa.Array:
        return self._users.take(pa.array(contexts.person, mask=contexts.anonymous))


def page_ids(contexts: Contexts) -> pa.Array:
    """`[P]` strings."""
    return pa.array([f"p{number:09d}" for number in contexts.number.tolist()], _NAME)


def plain(name: str, table: pa.Table) -> pa.Table:
    """The table in the contract's types, without dictionaries."""
    return table if name == "truth" else table.cast(SCHEMAS[name])


def _coded(codes: np.ndarray, values: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(_nullable(codes), values)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0), *parts])


def _nullable(codes: np.ndarray) -> pa.Array:
    return pa.array(codes.astype(np.int32), mask=codes == NONE)


def _table(**columns: pa.Array) -> pa.Table:
    return pa.table(columns)
