"""The shop: its logs under any policy, and what any policy is truly worth."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pageopt.config import ShopParams
from pageopt.errors import ConfigError, SourceError
from pageopt.policies.greedy import EMPTY
from pageopt.policies.static import static_pages
from pageopt.simulator.behaviour import react
from pageopt.simulator.catalog import Stream, build, stream
from pageopt.simulator.contexts import Contexts, draw, plan
from pageopt.simulator.model import ClickModel, Intent, LearningPolicy, Policy
from pageopt.simulator.oracle import Objective, oracle
from pageopt.simulator.tables import SCHEMAS, Tables, plain
from pageopt.simulator.traffic import POLICIES, Snapshot, Traffic

AnyPolicy = str | Policy | LearningPolicy


@dataclass(frozen=True)
class TrueValue:
    """Expected modules clicked and modules bought from, per page shown."""

    ctr: float
    ptr: float


@dataclass(frozen=True)
class Logs:
    """A log in the contract's form, and beside it the truth and the marginals of Thompson's snapshots."""

    modules: pa.Table
    items: pa.Table
    pages: pa.Table
    impressions: pa.Table
    events: pa.Table
    truth: pa.Table
    exploration: pa.Table


@dataclass(frozen=True)
class Written:
    """What `Shop.write` wrote: rows by table, and the times of the first and last page in µs since 1970 (UTC)."""

    rows: dict[str, int]
    first_ts: int
    last_ts: int


@dataclass(frozen=True)
class _Earned:
    day: int
    clicks: float  # expected, over the pages
    purchases: float
    pages: int


@dataclass(frozen=True)
class _Batch:
    day: int
    batch: int
    contexts: Contexts
    policy: np.ndarray  # [P] index into the policies
    modules: np.ndarray  # [P, slots]
    propensity: np.ndarray  # [P, slots]
    click: np.ndarray  # [P, slots] probability
    purchase: np.ndarray  # [P, slots] probability
    clicked: np.ndarray  # [P, slots] bool
    snapshots: list[Snapshot]  # of Thompson sampling, first used in this batch


class Shop:
    """A simulated shop; everything follows from the params and the seed.

    A policy is a name ("random", "thompson", "production"), a function from `Contexts` of P pages to ordered module
    indices `[P, slots]` (index = position in the order of module_id), -1 where a slot is empty, or a `LearningPolicy`.
    """

    def __init__(self, params: ShopParams, seed: int) -> None:
        self.params = params
        self.seed = seed
        self.catalog = build(params, seed)
        self.model = ClickModel(self.catalog)
        self._last_pages = params.pages

    def contexts(self, pages: int) -> Iterator[Contexts]:
        """The contexts that `logs` and `true_value` use for so many pages, batch by batch."""
        for day, batch, first, count in plan(pages, self.params.days):
            yield draw(self.catalog, day, batch, first, count)

    def logs(self, policy: AnyPolicy, pages: int) -> Logs:
        """A log of one policy on `pages` pages spread over the shop's days, in memory.

        Under "thompson" the policy learns from its own clicks alone; "production" stays with the popularity it began
        with. A policy given as a function shows one page a context, so its propensities are 1; a `LearningPolicy`
        states its own, and learns as the log is made.
        """
        self._last_pages = pages
        tables = Tables(self.catalog, _names(policy))
        parts: dict[str, list[pa.Table]] = {}
        for batch in self._run(policy, pages):
            for name, table in self._tables(tables, batch).items():
                parts.setdefault(name, []).append(plain(name, table))
        return Logs(tables.modules(), tables.items(), **{name: pa.concat_tables(part) for name, part in parts.items()})

    def true_value(self, policy: AnyPolicy, pages: int | None = None) -> TrueValue:
        """Expected CTR and PTR of a policy, exact given the contexts drawn.

        For "random", "thompson" and a `LearningPolicy` they are exact given the contexts and the orders drawn, which
        are those of `logs(policy, pages)`: what is left out is the chance of the orders, small over many pages.

        Args:
            policy: a name, a function or a new `LearningPolicy`.
            pages: on how many pages; default as many as the last call of `logs`, or params.pages if there was none.
        """
        return _mean(list(self._earned(policy, pages)))

    def true_values(self, policy: AnyPolicy, pages: int | None = None) -> list[TrueValue]:
        """`true_value` day by day: how fast a policy learns, and its regret against another one's."""
        days = groupby(self._earned(policy, pages), key=lambda earned: earned.day)
        return [_mean(list(of_day)) for _, of_day in days]

    def oracle(self, objective: Objective = "click", width: int = 3) -> Policy:
        """The policy that knows the true model: beam search for the most expected clicks or purchases."""
        return oracle(self.catalog, self.model, objective, width)

    def static(self, order: Sequence[int] | np.ndarray) -> Policy:
        """The policy that shows the same order of modules (indices, best first) to everybody, under the family rule."""
        pages = static_pages(order, self.catalog.candidates, self.catalog.modules.family, self.params.slots)
        return lambda contexts: pages[contexts.group]

    def write(self, folder: Path, progress: bool = False) -> Written:
        """Write the whole log, `params.pages` pages under the traffic mix, as folders of Parquet parts.

        Tables modules, items, pages, impressions and events as in the data contract; beside them truth (see
        `truth.expected`) and exploration (marginal propensities by day, see `traffic`). A batch of at most 50,000 pages
        is in memory at a time, another one while it is written. Raises SourceError where `folder` holds one of these
        tables already: parts of two logs would mix.
        """
        taken = [name for name in SCHEMAS if any((folder / name).glob("*.parquet"))]
        if taken:
            raise SourceError(f"{folder} already holds the tables {taken}. Delete them, or name an empty folder.")
        tables = Tables(self.catalog, POLICIES)
        written = {"modules": tables.modules(), "items": tables.items()}
        rows = {name: table.num_rows for name, table in written.items()}
        for name, table in written.items():
            _write(folder, name, "part", table)
        shares = {str(name): share for name, share in self.params.traffic.items()}
        first_ts, last_ts = np.iinfo(np.int64).max, 0
        with _bar(progress) as bar, ThreadPoolExecutor(max_workers=1) as writer:
            task = bar.add_task("Simulating pages", total=self.params.pages)
            pending: Future[dict[str, int]] | None = None
            for batch in self._run(shares, self.params.pages):
                _add(rows, pending)
                pending = writer.submit(self._write_batch, tables, batch, folder)
                first_ts = min(first_ts, int(batch.contexts.ts[0]))
                last_ts = max(last_ts, int(batch.contexts.ts[-1]))
                bar.advance(task, len(batch.contexts))
            _add(rows, pending)
        return Written(rows, first_ts, last_ts)

    def _earned(self, policy: AnyPolicy, pages: int | None) -> Iterator[_Earned]:
        for batch in self._run(policy, self._last_pages if pages is None else pages):
            clicks, purchases = float(batch.click.sum()), float(batch.purchase.sum())
            yield _Earned(batch.day, clicks, purchases, len(batch.contexts))

    def _run(self, policy: AnyPolicy | Mapping[str, float], pages: int) -> Iterator[_Batch]:
        """Batches in time order, under one policy or under named ones by shares."""
        if isinstance(policy, str):
            if policy not in POLICIES:
                raise ConfigError(f"No policy {policy!r} in the shop. Use one of {POLICIES}, or a function.")
            policy = {policy: 1.0}
        if not (callable(policy) or isinstance(policy, Mapping | LearningPolicy)):
            raise ConfigError(f"{type(policy).__name__} is no policy: a LearningPolicy has methods choose and record.")
        if pages <= 0:
            raise ConfigError(f"A log needs at least one page, not {pages}.")
        traffic = Traffic(self.catalog)
        for day, batch, first, count in plan(pages, self.params.days):
            contexts = draw(self.catalog, day, batch, first, count)
            rng = stream(self.seed, Stream.POLICY, day, batch)
            assigned = np.zeros(count, dtype=np.int64)
            if isinstance(policy, LearningPolicy):
                chosen, chance = policy.choose(contexts, day)
                modules, propensity = self._checked(chosen, contexts), self._checked_chance(chance, chosen)
            elif callable(policy):
                modules = self._checked(policy(contexts), contexts)
                propensity = np.where(modules == EMPTY, np.nan, 1.0)
            else:
                assigned = rng.choice(len(POLICIES), size=count, p=[policy.get(name, 0.0) for name in POLICIES])
                modules, propensity = traffic.choose(contexts, day, assigned, rng)
            intent = Intent.of(contexts)
            click, purchase = self.model.expected(intent, modules)
            chance = stream(self.seed, Stream.BEHAVIOUR, day, batch, 0).random(click.shape)
            clicked = self.model.draw(intent, modules, chance)
            if isinstance(policy, LearningPolicy):
                policy.record(contexts, modules, clicked)
            elif not callable(policy):
                traffic.record(contexts, assigned, modules, clicked)
            fresh = traffic.fresh_snapshots()
            yield _Batch(day, batch, contexts, assigned, modules, propensity, click, purchase, clicked, fresh)

    def _checked(self, modules: np.ndarray, contexts: Contexts) -> np.ndarray:
        """The pages of a policy given as a function, `[P, slots]`. Raises ConfigError where they cannot be shown."""
        modules = np.asarray(modules)
        slots = self.params.slots
        if modules.ndim != 2 or len(modules) != len(contexts) or modules.shape[1] > slots or modules.dtype.kind != "i":
            raise ConfigError(
                f"A policy must give module indices as integers [{len(contexts)} pages, at most {slots} slots], "
                f"not {modules.dtype} {list(modules.shape)}."
            )
        available = np.zeros((self.catalog.groups, self.params.modules + 1), dtype=bool)
        np.put_along_axis(available, self.catalog.candidates, True, axis=1)
        available[:, EMPTY] = True  # the last column stands for an empty slot, and for the padding of candidates
        known = (modules >= EMPTY) & (modules < self.params.modules)
        known &= available[contexts.group[:, None], np.where(known, modules, EMPTY)]
        ordered = np.sort(modules, axis=1)
        twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != EMPTY)
        if not known.all() or twice.any():
            raise ConfigError(
                f"A policy put modules on {int((~known).any(axis=1).sum())} pages where they are not available, and "
                f"one module twice on {int(twice.any(axis=1).sum())} pages."
            )
        page = np.full((len(modules), slots), EMPTY, dtype=np.int64)
        page[:, : modules.shape[1]] = modules
        return page

    def _checked_chance(self, chance: np.ndarray, modules: np.ndarray) -> np.ndarray:
        """The propensities `[P, slots]` of a `LearningPolicy`'s pages. Raises ConfigError where they cannot be ones."""
        chance = np.asarray(chance, dtype=np.float64)
        if chance.shape != np.shape(modules) or ((chance <= 0) | (chance > 1)).any():
            raise ConfigError(
                f"A policy must give propensities in (0, 1], or NaN, in the shape of its modules {np.shape(modules)}; "
                f"it gave {chance.shape}, {int(((chance <= 0) | (chance > 1)).sum())} of them outside."
            )
        propensity = np.full((len(chance), self.params.slots), np.nan)
        propensity[:, : chance.shape[1]] = np.where(np.asarray(modules) == EMPTY, np.nan, chance)
        return propensity

    def _tables(self, tables: Tables, batch: _Batch) -> dict[str, pa.Table]:
        conversion = batch.purchase[batch.clicked] / batch.click[batch.clicked]
        rng = stream(self.seed, Stream.BEHAVIOUR, batch.day, batch.batch, 1)
        events = react(self.catalog, batch.contexts, batch.modules, batch.clicked, conversion, rng)
        return {
            "pages": tables.pages(batch.contexts, batch.policy),
            "impressions": tables.impressions(batch.contexts, batch.modules, batch.propensity),
            "events": tables.events(batch.contexts, events),
            "truth": tables.truth(batch.contexts),
            "exploration": tables.exploration(batch.snapshots),
        }

    def _write_batch(self, tables: Tables, batch: _Batch, folder: Path) -> dict[str, int]:
        part = f"part-{batch.day:03d}-{batch.batch:02d}"
        made = self._tables(tables, batch)
        for name, table in made.items():
            _write(folder, name, part, table)
        return {name: table.num_rows for name, table in made.items()}


def _names(policy: AnyPolicy) -> tuple[str, ...]:
    if isinstance(policy, LearningPolicy):
        return (type(policy).__name__,)
    return POLICIES if isinstance(policy, str) else (getattr(policy, "__name__", "policy"),)


def _mean(earned: list[_Earned]) -> TrueValue:
    pages = sum(part.pages for part in earned)
    return TrueValue(sum(part.clicks for part in earned) / pages, sum(part.purchases for part in earned) / pages)


def _write(folder: Path, name: str, part: str, table: pa.Table) -> None:
    """One part. Without the Arrow schema in the file, dictionaries are read back as the contract's plain strings."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / name / f"{part}.parquet", compression="zstd", store_schema=name == "truth")


def _add(rows: dict[str, int], pending: "Future[dict[str, int]] | None") -> None:
    if pending is not None:
        for name, count in pending.result().items():
            rows[name] = rows.get(name, 0) + count


def _bar(shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, disable=not shown)
