"""Small projects with an untrained model, from the encoder to the exported bundle and the simulated pages."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pageopt.engine.bundle import Bundle
from pageopt.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
CATEGORIES = ("bags", "shoes")
Maker = Callable[..., Workspace]


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
        "age": rng.normal(40, 10, pages).tolist(),
        "candidates": [rng.permutation(modules)[: counts[number % len(counts)]].tolist() for number in range(pages)],
    }
    workspace.simulated.mkdir(parents=True)
    pq.write_table(pa.table(table), workspace.simulated / "pages.parquet")


@pytest.fixture(scope="session")
def maker(once: Callable[..., Path], exported: Callable[..., Workspace]) -> Maker:
    """Makes projects; equal ones are made once and must not be changed."""

    def make(**size: Any) -> Workspace:
        model = exported(**size)

        def fill(root: Path) -> None:
            shutil.copytree(model.root, root, dirs_exist_ok=True)
            _simulated(Workspace(root), Bundle.read(model.bundle / "bundle.json").modules)
            for name in ("params.yaml", "bentofile.yaml", "serving.lock"):
                shutil.copyfile(REPOSITORY / name, root / name)

        return Workspace(once(f"project-{model.root.name}", fill))

    return make


@pytest.fixture
def workspace(maker: Maker) -> Workspace:
    return maker()
