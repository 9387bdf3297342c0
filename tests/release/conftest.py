"""Small projects with an untrained model, from the encoder to the exported bundle and the simulated pages."""

import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pageopt.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
CATEGORIES = ("bags", "shoes")
MODULES = tuple(f"m{number}" for number in range(9))
Maker = Callable[..., Workspace]


def make_project(root: Path, modules: Sequence[str], slots: int) -> None:
    import torch

    from pageopt.config import SearchParams, TrainParams
    from pageopt.features.counters import CounterLayout, UserState
    from pageopt.features.encoder import Encoder
    from pageopt.features.schema import counter_fields
    from pageopt.features.store.snapshot import UserRow, write_snapshot
    from pageopt.models.item.network import PageNetwork
    from pageopt.problems.fields import Field
    from pageopt.problems.item import ITEM
    from pageopt.release.export import write_bundle

    workspace = Workspace(root)
    prepared = workspace.prepared
    families = tuple(sorted({f"f{int(name[1:]) % 3}" for name in modules}))
    layout = CounterLayout(
        (24.0,), ("click",), CATEGORIES, lifts={"family": dict.fromkeys(families, 0.1)}, lift_half_lives_hours=(24,)
    )
    fields = [
        *ITEM.fields,
        Field("season", "categorical", "page"),
        *counter_fields(layout),
    ]
    pages: dict[str, Any] = {name: np.arange(12.0) for name in [*layout.names, "hero_price"]}
    pages |= {name: ["web", "app"] * 6 for name in ("platform", "season")}
    pages |= {name: list(CATEGORIES) * 6 for name in ("hero_category",)}
    pages |= {"hero_title": ["red shoe", "blue bag"] * 6}
    encoder = Encoder.fit(
        fields,
        pages,
        [Field("family", "categorical", "module")],
        {"module_id": list(modules), "family": [f"f{int(name[1:]) % 3}" for name in modules]},
        slots=slots,
        min_count=1,
        title_tokens=3,
        vocabulary=50,
    )
    encoder.save(prepared / "encoder")
    known = UserState(layout, 0)
    known.add("click", 0, family=families[0], category="shoes")
    write_snapshot(prepared / "users.sqlite", [UserRow("u1", known, {})], layout, reference_us=0, declared=[])
    pq.write_table(
        pa.table({"module_id": list(modules), "ctr": np.linspace(0.1, 0.02, len(modules))}),
        prepared / "modules.parquet",
    )
    torch.manual_seed(slots)
    sizes = TrainParams.model_construct(width=8, embedding=4, dropout=0.0, losses=("click", "intent", "purchase"))
    model = PageNetwork.from_encoder(encoder, sizes, above="chosen")
    for parameter in model.parameters():  # far from 0, so that pages differ from each other
        torch.nn.init.normal_(parameter, std=0.5)
    model.eval().save(workspace.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's exporter warns of its own internals
        write_bundle(
            workspace.bundle,
            "item",
            model,
            workspace.model,
            prepared,
            SearchParams(width=3, beam_start=1, objective="purchase"),
            max_candidates=50,
        )
    _simulated(workspace, len(modules))
    for name in ("params.yaml", "bentofile.yaml", "serving.lock"):
        shutil.copyfile(REPOSITORY / name, root / name)


def _simulated(workspace: Workspace, modules: int) -> None:
    rng = np.random.default_rng(5)
    pages = 90
    counts = [0, 1, 2, 3, modules - 1, modules]
    table = {
        "page_id": [f"p{number}" for number in range(pages)],
        "user_id": [["u1", None][number % 2] for number in range(pages)],
        "platform": rng.choice(["web", "app", "tv"], pages).tolist(),
        "hero_item_id": ["i1"] * pages,
        "hero_category": rng.choice([*CATEGORIES, "hats"], pages).tolist(),
        "hero_title": [["red shoe", None, "blue"][number % 3] for number in range(pages)],
        "hero_price": [None if number % 5 == 0 else float(number) for number in range(pages)],
        "season": rng.choice(["web", "app"], pages).tolist(),
        "candidates": [rng.permutation(modules)[: counts[number % len(counts)]].tolist() for number in range(pages)],
    }
    workspace.simulated.mkdir(parents=True)
    pq.write_table(pa.table(table), workspace.simulated / "pages.parquet")


@pytest.fixture(scope="session")
def maker(once: Callable[..., Path]) -> Maker:
    """Makes projects; equal ones are made once and must not be changed."""

    def make(modules: Sequence[str] = MODULES, slots: int = 4) -> Workspace:
        name = "-".join(("project", *modules, f"{slots}slots"))
        return Workspace(once(name, lambda root: make_project(root, modules, slots)))

    return make


@pytest.fixture
def workspace(maker: Maker) -> Workspace:
    return maker()
