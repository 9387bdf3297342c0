"""Shared by many: an engine without a model, a request, a real bundle, DVC in a folder, and the order of the suite."""

import fcntl
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageopt.policies.decision import Decision
from pageopt.problems.base import Problem
from pageopt.problems.fields import Field
from pageopt.problems.item import ITEM
from pageopt.workspace import Workspace


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: what is short fills the other workers while they run."""
    items.sort(key=lambda item: item.get_closest_marker("flow") is None)


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """The folder of a name, which one worker of the suite fills for all of them; nobody may change it."""

    def filled(name: str, fill: Callable[[Path], object]) -> Path:
        base = tmp_path_factory.getbasetemp()
        folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                draft = tmp_path_factory.mktemp(name)
                fill(draft)
                draft.rename(folder)
        return folder

    return filled


@pytest.fixture(scope="session")
def init_dvc() -> Callable[[Path], None]:
    """Makes a folder a DVC project outside git, that does not ask the internet for a newer DVC at every command."""

    def init(root: Path) -> None:
        (root / ".dvc").mkdir()
        (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    check_update = false\n")

    return init


@pytest.fixture(scope="session")
def empty_registry(once: Once) -> Path:
    """The state of a workspace whose registry is empty, to be copied: MLflow takes seconds to make its database."""

    def make(root: Path) -> None:
        from pageopt.release import mlflow_store

        mlflow_store.connect(Workspace(root))

    return Workspace(once("registry", make)).state


@dataclass
class KnownUsers:
    """A store with one user."""

    def features(self, user_id: str | None, category: str | None, at_us: int) -> dict[str, Any]:
        return {"user_click_24h": 5.0 if user_id == "u1" else 0.0}


@dataclass
class FirstCome:
    """An engine that shows the candidates in the order they came, and remembers what it was asked."""

    slots: int = 4
    max_candidates: int = 1000
    policy: str = "trnn"
    module_ids: tuple[str, ...] = ("m0", "m1", "m2", "m3", "m4", "m5")
    problem: Problem = ITEM
    families: tuple[str, ...] = ("alike", "bought", "viewed")
    module_family: np.ndarray = field(default_factory=lambda: np.array([0, 0, 0, 1, 1, 2]))
    static_page: tuple[int, ...] = (0, 1, 3, 2, 4, 5)
    page_fields: tuple[Field, ...] = (
        *ITEM.fields,
        Field("season", "categorical", "page"),
        Field("age", "numeric", "user"),
        Field("note", "text", "page"),
    )
    users: KnownUsers = field(default_factory=KnownUsers)
    asked: list[tuple[dict[str, Any], list[int], int | None]] = field(default_factory=list)
    broken: Exception | None = None
    odds: float = 0.25

    @property
    def module_index(self) -> dict[str, int]:
        return {module_id: i for i, module_id in enumerate(self.module_ids)}

    def rank_one(self, fields: dict[str, Any], candidates: Sequence[int], slots: int | None = None) -> Decision:
        self.asked.append((fields, list(candidates), slots))
        if self.broken:
            raise self.broken
        shown = list(candidates)[: slots or self.slots]
        modules = np.full((1, self.slots), -1)
        modules[0, : len(shown)] = shown
        probabilities = np.where(modules[..., None] >= 0, np.float32(self.odds), np.float32(0))
        return Decision(modules, np.repeat(probabilities, 3, axis=2), np.array([self.odds], dtype=np.float32))


@pytest.fixture
def engine() -> FirstCome:
    return FirstCome()


def _page(**changes: Any) -> dict[str, Any]:
    page: dict[str, Any] = {
        "page_id": "p1",
        "platform": "web",
        "hero_item": {"item_id": "i1", "category": "shoes", "title": "Red shoe", "price": 20.0},
    }
    page.update(changes)
    return {"page": {name: value for name, value in page.items() if value is not ...}}


@pytest.fixture
def page() -> Callable[..., dict[str, Any]]:
    """A good body of /rank_page with changes; `...` leaves a member out."""
    return _page


FAMILIES = ("alike", "bought", "viewed")
CATEGORIES = ("bags", "shoes")
MODULES = tuple(f"m{i}" for i in range(9))


@pytest.fixture(scope="session")
def exported(once: Once) -> Callable[..., Workspace]:
    """What stage export reads and writes, for an untrained model of some modules, 3 families and some slots.

    Equal ones are made once and must not be changed.
    """

    def made(modules: Sequence[str] = MODULES, slots: int = 4) -> Workspace:
        name = "-".join(("export", *modules, f"{slots}slots"))
        return Workspace(once(name, lambda root: _export(Workspace(root), modules, slots)))

    return made


@pytest.fixture(scope="session")
def bundle(exported: Callable[..., Workspace]) -> Path:
    """What stage export writes, for 9 modules and 4 slots."""
    return exported().bundle


def _export(workspace: Workspace, module_ids: Sequence[str], slots: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    from pageopt.config import SearchParams, TrainParams
    from pageopt.features.counters import CounterLayout, UserState
    from pageopt.features.encoder import Encoder
    from pageopt.features.schema import counter_fields
    from pageopt.features.store.folding import Known
    from pageopt.features.store.snapshot import UserRow, write_snapshot
    from pageopt.models.item.network import PageNetwork
    from pageopt.release.export import write_bundle

    prepared = workspace.prepared
    families = [FAMILIES[int(name[1:]) % 3] for name in module_ids]
    lifts = {"family": dict.fromkeys(FAMILIES, 0.1)}
    layout = CounterLayout((24.0,), ("view", "click", "purchase"), CATEGORIES, lifts=lifts, lift_half_lives_hours=(24,))
    numbers = [*layout.names, "hero_price", "age"]
    fields = [
        *ITEM.fields,
        Field("season", "categorical", "page"),
        Field("age", "numeric", "user"),
        *counter_fields(layout),
    ]
    pages: dict[str, Any] = {name: np.arange(12.0) for name in numbers}
    pages |= {name: ["web", "app"] * 6 for name in ("platform", "season")}
    pages |= {name: list(CATEGORIES) * 6 for name in ("hero_category",)}
    pages |= {"hero_title": ["red shoe", "blue bag"] * 6}
    modules = {"module_id": list(module_ids), "family": families}
    encoder = Encoder.fit(
        fields,
        pages,
        [Field("family", "categorical", "module")],
        modules,
        slots=slots,
        min_count=1,
        title_tokens=3,
        vocabulary=50,
    )
    encoder.save(prepared / "encoder")
    known = UserState(layout, 0)
    known.add("click", 0, family="bought", category="shoes")
    write_snapshot(
        prepared / "users.sqlite",
        [UserRow("u1", known, {"age": 7.0})],
        layout,
        reference_us=0,
        declared=["age"],
        known=Known(
            {module_id: {"family": family} for module_id, family in zip(*modules.values(), strict=True)},
            {"i1": {"category": "shoes"}, "i2": {"category": "bags"}},
        ),
    )
    ctr = np.linspace(0.1, 0.02, len(module_ids))
    pq.write_table(pa.table({"module_id": module_ids, "ctr": ctr}), prepared / "modules.parquet")
    torch.manual_seed(1)
    sizes = TrainParams.model_construct(width=8, embedding=4, dropout=0.0, losses=("click", "intent", "purchase"))
    model = PageNetwork.from_encoder(encoder, sizes, above="chosen")
    for parameter in model.parameters():  # far from 0, so that pages differ from each other
        torch.nn.init.normal_(parameter, std=0.5)
    model.eval().save(workspace.model)
    search = SearchParams(width=3, beam_start=1, objective="purchase")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's exporter warns of its own internals
        write_bundle(workspace.bundle, "item", model, workspace.model, prepared, search, max_candidates=50)
