"""Stage simulate-pages on a small prepared folder made by hand."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pageopt.features.counters import CounterLayout, UserState
from pageopt.features.encoder import Encoder
from pageopt.features.schema import counter_fields
from pageopt.features.store.snapshot import UserRow, UserSnapshot, write_snapshot
from pageopt.problems.base import UNSEEN
from pageopt.problems.fields import Field
from pageopt.problems.item import ITEM
from pageopt.stages import simulate_pages
from pageopt.workspace import Workspace

ROOT = Path(__file__).parents[2]
T0 = 1_700_000_000_000_000
MODULES, SLOTS = 50, 6
LAYOUT = CounterLayout(
    (1, 24), ("click",), ("bags", "hats"), lifts={"family": {"fa": 0.1, "fb": 0.1}}, lift_half_lives_hours=(24,)
)
FIELDS = (
    *ITEM.fields,
    Field("referrer", "categorical", "page"),
    Field("tier", "categorical", "user"),
    *counter_fields(LAYOUT),
)


def seen(rows: int, random: np.random.Generator) -> pa.Table:
    item = random.integers(0, 20, rows)
    columns = {
        "page_id": pa.array([f"p{n}" for n in range(rows)]),
        "user_id": pa.array([None if n % 9 == 0 else f"u{n % 7}" for n in range(rows)]),
        "hero_item_id": pa.array([f"i{n}" for n in item]),
        "platform": pa.array(random.choice(["app", "web"], rows)),
        "referrer": pa.array(["mail"] * rows),
        "hero_category": pa.array([("bags", "hats")[n % 2] for n in item]),
        "hero_title": pa.array([f"thing {n}" for n in item]),
        "hero_price": pa.array([float(n) for n in item]),
        "tier": pa.array([None] * rows, pa.string()),
        **{name: pa.array(np.zeros(rows, dtype=np.float32)) for name in LAYOUT.names},
        "candidates": pa.array([[0, 3, 8, 1, 2, 9, 30]] * rows, pa.list_(pa.int32())),
    }
    return pa.table(columns)


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text)
    workspace = Workspace(tmp_path)
    random = np.random.default_rng(0)
    for split in ("valid", "test"):
        folder = workspace.prepared / split
        folder.mkdir(parents=True)
        pq.write_table(seen(60, random), folder / "part-00000.parquet")
    table = seen(60, random)
    Encoder.fit(
        FIELDS,
        {name: table[name].to_pylist() for name in table.column_names},
        (Field("module_id", "categorical", "module"),),
        {"module_id": [f"m{n:02}" for n in range(MODULES)], "family": ["fa", "fb"] * (MODULES // 2)},
        slots=SLOTS,
        min_count=1,
        title_tokens=3,
        vocabulary=50,
    ).save(workspace.prepared / "encoder")
    state = UserState(LAYOUT)
    state.add("click", T0, family="fb", category="hats")
    users = [UserRow("u1", state, {"tier": "gold"})]
    path = workspace.prepared / "users.sqlite"
    write_snapshot(path, users, LAYOUT, reference_us=T0, declared=("tier",))
    return workspace


def test_the_pool(workspace) -> None:
    simulate_pages.run(workspace)
    path = workspace.simulated / "pages.parquet"
    pool = pq.read_table(path)
    assert len(pool) == 2000
    assert len(set(pool["page_id"].to_pylist())) == 2000
    rows = pool.to_pylist()
    snapshot = UserSnapshot(workspace.prepared / "users.sqlite")
    for row in rows:
        for name, value in snapshot.features(row["user_id"], row["hero_category"], snapshot.reference_us).items():
            assert row[name] == (np.float32(value) if isinstance(value, float) else value)
        item = int(row["hero_item_id"][1:])
        assert row["hero_title"] in (f"thing {item}", None)
        assert row["hero_price"] in (float(item), None)
        assert row["hero_category"] in (("bags", "hats")[item % 2], UNSEEN)
    assert {row["platform"] for row in rows} == {"app", "web", UNSEEN}
    for name in ("user_id", "hero_title", "hero_price"):
        assert 0 < pool[name].null_count < 600
    assert any(row["user_hero_click_1h"] == 1 for row in rows)
    assert any((row["user_id"] or "").startswith("newcomer") for row in rows)
    encoded = Encoder.load(workspace.prepared / "encoder").encode({n: pool[n].to_pylist() for n in pool.column_names})
    assert np.isfinite(encoded.numeric).all()
    assert (encoded.categorical == 1).any()

    sizes = [len(row["candidates"]) for row in rows]
    assert {1, SLOTS - 1, SLOTS, 7, 37, MODULES} <= set(sizes)
    for row in rows:
        assert len(set(row["candidates"])) == len(row["candidates"])
        assert all(0 <= module < MODULES for module in row["candidates"])
    assert sum(row["candidates"] == [0, 3, 8, 1, 2, 9, 30] for row in rows) > 800

    before = path.read_bytes()
    simulate_pages.run(workspace)
    assert path.read_bytes() == before


def test_another_seed_is_another_pool(workspace) -> None:
    simulate_pages.run(workspace)
    before = pq.read_table(workspace.simulated / "pages.parquet")
    text = workspace.params.read_text().replace("simulate_pages:\n  seed: 1", "simulate_pages:\n  seed: 2")
    workspace.params.write_text(text)
    simulate_pages.run(workspace)
    assert not pq.read_table(workspace.simulated / "pages.parquet").equals(before)
