"""Own logs whose clicks hang on declared columns of all four tables: from Parquet files to the page that is served."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from pageopt.engine.page_engine import PageEngine
from pageopt.features.store.base import AS_IT_STANDS
from pageopt.features.store.snapshot import UserSnapshot
from pageopt.problems.item import ITEM
from pageopt.stages import check, collect, export, prepare, train
from pageopt.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
PAGES, SLOTS = 6000, 2
# Each description is wanted in one situation: a page in the rain, a new item, a member.
DESCRIPTIONS = ("umbrella", "premiere", "lounge", "plain", "plain", "plain")
FEATURES = {
    "pages": [{"name": "weather", "kind": "categorical"}],
    "items": [{"name": "newness", "kind": "numeric"}],
    "modules": [{"name": "description", "kind": "text"}],
    "users": [{"name": "tier", "kind": "categorical"}],
}


def _write_logs(folder: Path) -> None:
    rng = np.random.default_rng(1)
    modules = [f"m{n}" for n in range(len(DESCRIPTIONS))]
    start = datetime(2026, 3, 1, tzinfo=UTC)
    rain, new, user = rng.random(PAGES) < 0.3, rng.random(PAGES) < 0.3, rng.integers(0, 40, PAGES)
    member = user < 12
    shown = np.array([rng.permutation(len(modules))[:SLOTS] for _ in range(PAGES)])
    wanted = np.column_stack([rain, new, member] + [np.zeros(PAGES, dtype=bool)] * 3)
    clicked = rng.random(shown.shape) < np.where(np.take_along_axis(wanted, shown, 1), 0.6, 0.08)
    ts = [start + timedelta(minutes=int(n)) for n in range(PAGES)]
    page, slot = np.nonzero(np.ones_like(shown, dtype=bool))
    at, where = np.nonzero(clicked)
    tables = {
        "modules": {
            "module_id": modules,
            "family": [f"f{n % 3}" for n in range(len(modules))],
            "algorithm": ["a"] * len(modules),
            "theme": ["t"] * len(modules),
            "recall": ["r"] * len(modules),
            "description": DESCRIPTIONS,
        },
        "items": {
            "item_id": ["old", "new"],
            "title": ["thing", "thing"],
            "category": ["c", "c"],
            "brand": ["b", "b"],
            "price": [5.0, 5.0],
            "newness": [0.0, 1.0],
        },
        "users": {
            "user_id": [f"u{n}" for n in range(40)],
            "tier": ["member" if n < 12 else "guest" for n in range(40)],
        },
        "pages": {
            "page_id": [f"p{n:05}" for n in range(PAGES)],
            "user_id": [f"u{n}" for n in user],
            "ts": ts,
            "platform": ["web"] * PAGES,
            "hero_item_id": np.where(new, "new", "old"),
            "policy": ["random"] * PAGES,
            "candidates": [modules] * PAGES,
            "weather": np.where(rain, "rain", "sun"),
        },
        "impressions": {
            "page_id": [f"p{n:05}" for n in page],
            "slot": slot + 1,
            "module_id": [modules[m] for m in shown[page, slot]],
            "propensity": np.full(len(page), 1 / len(modules)),
        },
        "events": {
            "event_id": [f"e{n}" for n in range(len(at))],
            "ts": [ts[p] + timedelta(seconds=5) for p in at],
            "user_id": [f"u{user[p]}" for p in at],
            "kind": ["click"] * len(at),
            "page_id": [f"p{p:05}" for p in at],
            "module_id": [modules[m] for m in shown[at, where]],
            "slot": where + 1,
            "item_id": [None] * len(at),
            "price": pa.nulls(len(at), pa.float64()),
        },
    }
    folder.mkdir(parents=True)
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("own")
    _write_logs(root / "logs")
    editor = YAML()
    params = editor.load(REPOSITORY / "params.yaml")
    params["collect"].update(source="parquet", folder="logs")
    params["features"].update(FEATURES)
    params["prepare"]["sampling"]["no_interaction_rate"] = 1.0
    params["train"].update(losses=["click"], batch_size=64, learning_rate=0.005, width=16, embedding=8, threads=1)
    params["search"].update(objective="click")
    editor.dump(params, root / "params.yaml")
    workspace = Workspace(root)
    for stage in (collect, check, prepare, train, export):
        stage.run(workspace)
    return workspace.bundle


@pytest.fixture(scope="module")
def engine(bundle: Path) -> PageEngine:
    return PageEngine(bundle)


@pytest.mark.parametrize(
    ("wanted", "user", "features"),
    [
        ("m0", "u30", {"weather": "rain", "newness": 0.0}),
        ("m1", "u30", {"weather": "sun", "newness": 1.0}),
        ("m2", "u3", {"weather": "sun", "newness": 0.0}),  # a member, as the table users says
        ("m2", "nobody", {"weather": "sun", "newness": 0.0, "tier": "member"}),  # as the request says
    ],
)
def test_a_declared_column_decides_the_page(
    bundle: Path, engine: PageEngine, wanted: str, user: str, features: dict
) -> None:
    fields = UserSnapshot(bundle / "users.sqlite").features(user, "c", AS_IT_STANDS)
    fields |= {"platform": "web", "hero_category": "c", "hero_title": "thing", "hero_price": 5.0, **features}
    decision = engine.rank_one(fields, range(len(engine.module_ids)))
    chance = dict(zip(decision.modules[0].tolist(), decision.probabilities[0, :, 0].tolist(), strict=True))
    at = engine.module_ids.index(wanted)
    # Slots are alike in this log, so that the order says nothing.
    assert chance[at] > 0.3
    assert max(value for module, value in chance.items() if module != at) < 0.2


def test_a_request_may_name_the_declared_columns(engine: PageEngine) -> None:
    assert ITEM.declared(engine.page_fields) == {"weather": "categorical", "newness": "numeric", "tier": "categorical"}
