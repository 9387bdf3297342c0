"""Small random logs that keep the data contract, as the tables and files that stage check leaves behind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pageopt import contract
from pageopt.check.findings import Shape
from pageopt.config import FeatureParams

T0 = 1_700_000_000_000_000
HOUR = 3_600_000_000
SLOTS = 4
FAMILIES = ("brand", "deals", "new", "similar")
CATEGORIES = ("bags", "hats", "shoes")

DECLARED = FeatureParams.model_validate(
    {
        "pages": [{"name": "referrer", "kind": "categorical"}, {"name": "hour", "kind": "numeric"}],
        "items": [{"name": "blurb", "kind": "text"}],
        "modules": [{"name": "badge", "kind": "categorical"}, {"name": "age_days", "kind": "numeric"}],
        "users": [{"name": "tier", "kind": "categorical"}],
    }
)


@dataclass
class RandomLogs:
    """Rows by table, times in microseconds; `features` are the declared columns they have."""

    rows: dict[str, list[dict]]
    features: FeatureParams
    slots: int = SLOTS

    def arrow(self) -> dict[str, pa.Table]:
        """Tables of the contract with the declared columns; other columns are left out."""
        return {
            name: pa.Table.from_pylist(
                [{column: row.get(column) for column in table.names} for row in self.rows[name]], table.arrow_schema
            )
            for name, table in contract.tables(self.features).items()
            if name in self.rows
        }

    def write(self, folder: Path) -> Path:
        """Write data/checked as stage check does, each table in two parts."""
        for name, table in self.arrow().items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            half = len(table) // 2
            pq.write_table(table.slice(0, half), folder / name / "part-00000.parquet")
            pq.write_table(table.slice(half), folder / name / "part-00001.parquet")
        Shape(self.slots, {}, None, None, None).write(folder / "shape.json")
        return folder


@pytest.fixture(scope="session")
def random_logs() -> Callable[..., RandomLogs]:
    """`random_logs(pages=600, seed=0, hours=240, declared=True)`."""

    def make(pages: int = 600, seed: int = 0, hours: int = 240, declared: bool = True) -> RandomLogs:
        rows = tables(pages, seed, hours)
        if not declared:
            del rows["users"]
        return RandomLogs(rows, DECLARED if declared else FeatureParams())

    return make


def tables(pages: int, seed: int, hours: int) -> dict[str, list[dict]]:
    """Rows by table. Everything in it happens: nobody's pages, short pages, unclicked purchases, items not in items."""
    random = np.random.default_rng(seed)
    modules = [
        {
            "module_id": f"m{n:02}",
            "family": FAMILIES[n % 4],
            "algorithm": f"algorithm {n % 3}",
            "theme": f"theme {n % 5}",
            "recall": f"recall {n % 2}",
            "badge": [None, "hot"][n % 2],
            "age_days": float(n * n),
        }
        for n in range(12)
    ]
    items = [
        {
            "item_id": f"i{n:02}",
            "title": f"{CATEGORIES[n % 3]} model {n % 7}",
            "category": CATEGORIES[n % 3],
            "brand": None,
            "price": float(random.lognormal(3, 1)),
            "blurb": "soft and warm" if n % 2 else None,
        }
        for n in range(30)
    ]
    users = [{"user_id": f"u{n:02}", "tier": ["gold", "new", None][n % 3]} for n in range(25)]
    rows: dict[str, list[dict]] = {"modules": modules, "items": items, "users": users}
    rows |= {"pages": [], "impressions": [], "events": []}
    for n in range(pages):
        us = T0 + int(random.integers(0, hours * HOUR))
        us -= us % HOUR if random.random() < 0.1 else 0  # ties
        user = None if random.random() < 0.1 else f"u{random.integers(30):02}"
        candidates = random.permutation(12)[: random.integers(2, 13)]
        page = f"p{n:05}"
        rows["pages"].append(
            {
                "page_id": page,
                "user_id": user,
                "ts": us,
                "platform": str(random.choice(["app", "web"])),
                "hero_item_id": f"i{random.integers(30):02}",
                "policy": str(random.choice(["random", "thompson", "production"], p=[0.3, 0.2, 0.5])),
                "candidates": [f"m{m:02}" for m in candidates],
                "referrer": str(random.choice(["search", "mail"])),
                "hour": float(us // HOUR % 24),
            }
        )
        for slot, module in enumerate(candidates[:SLOTS], 1):
            shown = {"page_id": page, "slot": slot, "module_id": f"m{module:02}"}
            rows["impressions"].append({**shown, "propensity": [None, 0.25][n % 2]})
            if random.random() < 0.3 / slot:
                _interact(rows["events"], random, shown, user, us)
    for number, event in enumerate(rows["events"]):
        event["event_id"] = f"e{number * 7919 % 100_003:06}"
    return rows


def _interact(events: list[dict], random: np.random.Generator, shown: dict, user: str | None, us: int) -> None:
    """A click, and often what follows from it: some of that names its page, some only its item."""
    item = f"i{random.integers(33):02}"
    at = us + int(random.integers(0, 120)) * 1_000_000
    click = {"ts": at, "user_id": user, "kind": "click", "item_id": item, "price": None, **shown}
    events.append(click)
    for kind, share in (("watch", 0.3), ("cart", 0.4), ("purchase", 0.4)):
        if random.random() < share:
            later = {**click, "kind": kind, "ts": at + int(random.integers(0, 72) ** 2) * 60_000_000}
            if kind == "purchase":
                later["price"] = 10.0
            if random.random() < 0.6:
                later |= {"page_id": None, "module_id": None, "slot": None}
            elif random.random() < 0.3:
                later |= {"slot": None}
            events.append(later)
