"""Stage simulate-pages: a fixed pool of page contexts on which candidate and champion are compared.

Contexts are put together anew from what valid and test pages saw: the platform of one page, the hero item of another,
the user of a third. To them come cases that logs seldom hold but requests do: unknown users, categories and platforms
never seen, titles and prices left out, and candidate sets from a single module to all of them.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from pageopt import config
from pageopt.config import PageParams, SimulatePagesParams
from pageopt.features.encoder import Encoder
from pageopt.features.store.base import AS_IT_STANDS, UserReader
from pageopt.features.store.snapshot import UserSnapshot
from pageopt.problems.all import problem_of
from pageopt.problems.base import Problem
from pageopt.problems.fields import Field, FieldSource
from pageopt.tables.parquet import parts
from pageopt.workspace import Workspace

_NOBODY, _NEWCOMER = 0.05, 0.05
_ODD_SIZES = (1, 7, 37)
# Of candidate sets; the rest have a size that is easy to get wrong.
_REAL_SHARE, _ALL_SHARE, _ANY_SHARE = 0.5, 0.05, 0.15


def run(workspace: Workspace) -> None:
    """Draw the pool from data/prepared and write data/simulated/pages.parquet."""
    params = config.load(workspace.params, SimulatePagesParams)
    problem = problem_of(config.load(workspace.params, PageParams).problem)
    encoder = Encoder.load(workspace.prepared / "encoder")
    users = UserSnapshot(workspace.prepared / "users.sqlite")
    files = [file for split in ("valid", "test") for file in parts(workspace.prepared / split)]
    schema = pool_schema(problem, pq.read_schema(files[0]), encoder.page_fields)
    logged = [name for source in ("page", "item") for name in _names(encoder.page_fields, source)]
    columns = ["user_id", problem.subject.named, *logged, "candidates"]
    seen = pa.concat_tables([pq.read_table(file, columns=columns, partitioning=None) for file in files])
    pool = simulated_pages(problem, seen, schema, encoder, users, params.pages, np.random.default_rng(params.seed))
    workspace.simulated.mkdir(parents=True, exist_ok=True)
    pq.write_table(pool, workspace.simulated / "pages.parquet", compression="zstd")
    _summary(problem, pool, len(seen))


def pool_schema(problem: Problem, prepared: pa.Schema, fields: tuple[Field, ...]) -> pa.Schema:
    """Columns of the pool, with the types that prepared pages have."""
    names = ["page_id", "user_id", problem.subject.named, *(field.name for field in fields), "candidates"]
    return pa.schema([pa.field(name, prepared.field(name).type) for name in names])


def simulated_pages(
    problem: Problem,
    seen: pa.Table,
    schema: pa.Schema,
    encoder: Encoder,
    users: UserReader,
    pages: int,
    random: np.random.Generator,
) -> pa.Table:
    """`pages` contexts of `schema`, put together from the rows of `seen`.

    What a page is about is drawn as one. User columns are looked up for the new user and the new subject, so that they
    are what serving would compute.
    """
    by_source = {source: _names(encoder.page_fields, source) for source in ("page", "item", "user", "counter")}
    one = _drawn(seen, by_source["page"], random, pages)
    other = _drawn(seen, (problem.subject.named, *by_source["item"]), random, pages)
    visitors = _drawn(seen, ("user_id",), random, pages)["user_id"]
    columns: dict[str, list[Any]] = {"page_id": [f"simulated-{n:07}" for n in range(pages)], **one, **other}
    for rare in problem.rare:
        for row in np.flatnonzero(random.random(pages) < rare.share):
            columns[rare.column][row] = rare.value
    chance = random.random(pages)
    for row in np.flatnonzero(chance < _NOBODY + _NEWCOMER):
        visitors[row] = None if chance[row] < _NOBODY else f"newcomer-{row:07}"
    columns["user_id"] = visitors
    subjects = zip(visitors, columns[problem.category], strict=True)
    features = [users.features(user_id, category, AS_IT_STANDS) for user_id, category in subjects]
    for name in (*by_source["user"], *by_source["counter"]):
        columns[name] = [row[name] for row in features]
    real = seen["candidates"].take(pa.array(random.integers(len(seen), size=pages))).to_pylist()
    columns["candidates"] = list(_candidates(real, len(encoder.module_ids), encoder.slots, random))
    return pa.table({name: pa.array(columns[name], type=schema.field(name).type) for name in schema.names})


def _names(fields: tuple[Field, ...], source: FieldSource) -> tuple[str, ...]:
    return tuple(field.name for field in fields if field.source == source)


def _drawn(seen: pa.Table, names: tuple[str, ...], random: np.random.Generator, pages: int) -> dict[str, list[Any]]:
    """These columns of rows drawn at random, the same row for all of them."""
    rows = pa.array(random.integers(len(seen), size=pages))
    return {name: seen[name].take(rows).to_pylist() for name in names}


def _candidates(real: list[list[int]], modules: int, slots: int, random: np.random.Generator) -> Iterator[list[int]]:
    """Candidate sets of one page after the other: real ones, all modules, and sets of any size, in any order."""
    sizes = sorted({min(size, modules) for size in (*_ODD_SIZES, max(1, slots - 1), slots, slots + 1)})
    for logged in real:
        kind = random.random()
        if kind < _REAL_SHARE and logged:
            yield logged
            continue
        if kind < _REAL_SHARE + _ALL_SHARE:
            size = modules
        elif kind < _REAL_SHARE + _ALL_SHARE + _ANY_SHARE:
            size = int(random.integers(1, modules + 1))
        else:
            size = int(random.choice(sizes))
        yield random.permutation(modules)[:size].tolist()


def _summary(problem: Problem, pool: pa.Table, seen: int) -> None:
    console = Console()
    sizes = np.array([len(row) for row in pool["candidates"].to_pylist()])
    console.print(f"simulated {len(pool):,} pages from {seen:,} that were logged")
    console.print(f"candidates {sizes.min()} to {sizes.max()}, {len(set(sizes.tolist()))} different counts")
    columns = ["user_id", *dict.fromkeys(rare.column for rare in problem.rare if rare.value is None)]
    console.print("pages without " + ", ".join(f"{name} {pool[name].null_count:,}" for name in columns))
