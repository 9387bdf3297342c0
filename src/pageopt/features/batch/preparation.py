"""Checked logs to prepared data: the steps of stage prepare, each a method, all in one database.

Strings become integers once (`logs`); from then on every table is narrow, keyed by the number of the page, and made by
one Ibis expression. Memory is bounded by DuckDB's limit, by chunks of users for the counters, and by row groups for the
output. Outputs are the same bytes for the same logs and params.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from pageopt.check.findings import Shape
from pageopt.config import FeatureParams, PrepareParams
from pageopt.features.batch import sampling, user_features
from pageopt.features.batch.exposure import Exposure, module_counts, slot_bias_of
from pageopt.features.batch.labels import label
from pageopt.features.batch.logs import Logs, read_logs
from pageopt.features.batch.module_table import log_odds, module_table
from pageopt.features.batch.page_writer import PageTables, PageWriter
from pageopt.features.batch.point_in_time import PageMoment, UserEvent, assert_point_in_time
from pageopt.features.batch.snapshot_rows import snapshot_rows
from pageopt.features.batch.split import SPLITS, SplitTimes, split_times
from pageopt.features.counters import TOP_CATEGORY, TOP_FAMILY, CounterLayout
from pageopt.features.encoder import Encoder
from pageopt.features.prepared import PrepareReport, Schema
from pageopt.features.schema import CTR_LOG_ODDS, module_fields, page_fields
from pageopt.features.sessions import attribute
from pageopt.features.slot_bias import SlotBias
from pageopt.features.store.snapshot import write_snapshot
from pageopt.tables.database import Database, append, drop, store
from pageopt.tables.parquet import ParquetColumns

CHUNK_ROWS = 400_000  # pages and events whose counters are computed at a time
SAMPLE = 200  # pages whose features are recomputed by brute force
_COUNTS = ("pages", "clicks", "intents", "purchases")
_IDENTITY = ("page_id", "user_id", "ts", "policy", "hero_item_id")


@dataclass
class Preparation:
    """One run from `checked` to `prepared`; call `run`.

    Attributes:
        connection: an empty database.
        checked, prepared: the folders of stages check and prepare; `prepared` is made anew.
        params: section prepare.
        features: section features.
        progress: is told the name of each step before it starts.
    """

    connection: Database
    checked: Path
    prepared: Path
    params: PrepareParams
    features: FeatureParams
    progress: Callable[[str], None] = lambda step: None
    notes: list[str] = field(default_factory=list)

    STEPS = ("read logs", "labels", "split and sample", "counters", "pages", "slots and modules", "encoder", "users")

    def run(self) -> PrepareReport:
        """Do everything and return the report.

        Raises:
            ContractError: tables are missing, a split would be empty, or features fail the point-in-time check.
        """
        shutil.rmtree(self.prepared, ignore_errors=True)
        self.prepared.mkdir(parents=True)
        slots = Shape.read(self.checked / "shape.json").slots
        self.progress("read logs")
        logs = read_logs(self.connection, self.checked, self.features, self.params.purchase_window_hours)
        layout = CounterLayout(
            tuple(self.params.counters.half_lives_hours),
            tuple(self.params.counters.family_kinds),
            tuple(self.params.counters.category_kinds),
            logs.families,
            logs.categories,
        )
        fields = page_fields(self.features, layout)
        self.progress("labels")
        labels = self._labels(logs)
        self.progress("split and sample")
        times = split_times(logs.pages, self.params.split)
        traffic = self._traffic(logs, labels, times)
        kept, rates = self._keep(traffic)
        self.progress("counters")
        tables = self._counters(logs, kept, labels, layout)
        self.progress("pages")
        context = tuple(f.name for f in fields if f.source != "counter")
        counts = self._write_pages(tables, logs, layout, slots, context)
        self.progress("slots and modules")
        shown = Exposure.of(traffic.filter(traffic.split == "train"), logs.shown, labels)
        bias = self._slot_bias(shown, slots)
        modules = self._modules(logs, shown)
        self.progress("encoder")
        self._encoder(fields, modules, slots)
        self.progress("users")
        users = self._users(logs, layout)
        by_split = {name: {split: counts[split][name] for split in SPLITS} for name in _COUNTS}
        Schema(
            slots=slots,
            families=logs.families,
            modules=len(modules),
            observed=self._observed(logs),
            has_purchase=counts["train"]["purchases"] > 0,
            has_intent=counts["train"]["intents"] > 0,
            fields=fields,
            module_fields=module_fields(self.features),
            pages=by_split["pages"],
            clicks=by_split["clicks"],
            counters=layout,
        ).write(self.prepared / "schema.json")
        return PrepareReport(
            **by_split,
            traffic=self._by_policy(traffic),
            events=self._matched(logs),
            kept_rate=asdict(rates),
            examination={"click": bias.click["all"], "purchase": bias.purchase["all"]},
            users=users,
            fields=len(fields),
            notes=self.notes,
        )

    def _labels(self, logs: Logs) -> ir.Table:
        events = logs.events
        attribution = self.params.attribution
        visitors = events.select("event_id", "kind", ts="us", user_id="visitor")
        weights = attribute(visitors, self.params.session_gap_minutes, attribution.decay, attribution.scale)
        labels = label(events.filter(events.page.notnull()).select("page", "slot", "kind", "event_id"), weights)
        return store(self.connection, "labels", labels.order_by("page"))

    def _traffic(self, logs: Logs, labels: ir.Table, times: SplitTimes) -> ir.Table:
        """Every page with its split and whether anything happened on it."""
        happened = labels.group_by("page").agg(
            clicks=labels.click.sum().cast("int64"), purchases=labels.purchase.sum().cast("int64")
        )
        pages = logs.pages.left_join(happened, "page").drop("page_right")
        traffic = pages.mutate(
            split=times.name(pages.us),
            interacted=pages.clicks.notnull(),
            clicks=pages.clicks.fill_null(0),
            purchases=pages.purchases.fill_null(0),
        )
        return store(self.connection, "traffic", traffic)

    def _keep(self, traffic: ir.Table) -> tuple[ir.Table, sampling.Rates]:
        train = traffic.filter(traffic.split == "train")
        volume = train.group_by("policy").agg(pages=train.count()).to_pyarrow().to_pylist()
        rates = sampling.rates({row["policy"]: row["pages"] for row in volume}, self.params.sampling)
        others = traffic.filter(traffic.split != "train").mutate(weight=ibis.literal(1.0, "float32"))
        kept = sampling.keep(train, rates, self.params.sampling.seed).union(others)
        return store(self.connection, "kept", kept.order_by("page")), rates

    def _counters(self, logs: Logs, kept: ir.Table, labels: ir.Table, layout: CounterLayout) -> PageTables:
        """Counters of the kept pages, chunk by chunk of users, then sorted by page for the writer."""
        points = kept.filter(kept.user.notnull()).select("user", "us", point="page", category="category_code")
        events = logs.events.filter(logs.events.user.notnull())
        events = events.select("user", "us", "seq", "kind", "family", "category")
        names = ("totals", "hero", "families", TOP_CATEGORY, TOP_FAMILY)
        for low, high in self._user_chunks(logs, points, events):
            mine = points.filter(points.user.between(low, high))
            theirs = events.filter(events.user.between(low, high))
            sparse = store(self.connection, "chunk", user_features.family_counters(mine, theirs, layout))
            clicks = user_features.category_clicks(mine, theirs, layout)
            parts = (
                user_features.total_counters(mine, theirs, layout),
                user_features.hero_counters(mine, theirs, layout),
                sparse,
                user_features.top_of(clicks, "category", layout),
                user_features.top_of(sparse, "family", layout),
            )
            for name, part in zip(names, parts, strict=True):
                append(self.connection, f"unsorted_{name}", part)
            drop(self.connection, "chunk")
        tables = {}
        for name in names:
            tables[name] = store(self.connection, name, self.connection.table(f"unsorted_{name}").order_by("point"))
            drop(self.connection, f"unsorted_{name}")
        return PageTables(
            kept=self._with_context(logs, kept),
            shown=logs.shown,
            labels=labels,
            dense=(tables["totals"], tables["hero"]),
            families=tables["families"],
            tops={name: tables[name] for name in (TOP_CATEGORY, TOP_FAMILY)},
            candidates=self._candidates(logs, kept),
        )

    def _user_chunks(self, logs: Logs, *tables: ir.Table) -> list[tuple[int, int]]:
        """Ranges of users, first and last, that share out the rows of the tables."""
        rows = sum(int(table.count().execute()) for table in tables)
        users = max(1, int(logs.users.count().execute()))
        size = -(-users // max(1, -(-rows // CHUNK_ROWS)))
        return [(low, min(users, low + size) - 1) for low in range(0, users, size)]

    def _with_context(self, logs: Logs, kept: ir.Table) -> ir.Table:
        """Kept pages with the raw columns of page, hero item and user."""
        own = [column.name for column in self.features.pages]
        source = logs.checked["pages"].select("page_id", "user_id", "ts", "hero_item_id", *own)
        items = logs.items.select(
            "item_id",
            *(column.name for column in self.features.items),
            hero_category="category",
            hero_title="title",
            hero_price="price",
        )
        users = logs.users.select("user", *(column.name for column in self.features.users))
        full = kept.select("page", "page_id", "user", "policy", "platform", "split", "weight").join(source, "page_id")
        full = full.left_join(items, full.hero_item_id == items.item_id).drop("item_id")
        full = full.left_join(users, "user").drop("user_right", "user")
        return store(self.connection, "context", full.order_by("page"))

    def _candidates(self, logs: Logs, kept: ir.Table) -> ir.Table:
        judged = kept.filter(kept.split != "train").select("page", "page_id")
        lists = judged.join(logs.checked["pages"].select("page_id", "candidates"), "page_id")
        return store(self.connection, "candidates", lists.select("page", "candidates").order_by("page"))

    def _write_pages(
        self, tables: PageTables, logs: Logs, layout: CounterLayout, slots: int, context: tuple[str, ...]
    ) -> dict[str, dict[str, int]]:
        """Write the splits, check the sample, and count what was written."""
        module_ids = logs.modules.order_by("module").select("module_id").to_pyarrow()["module_id"].to_pylist()
        writer = PageWriter(tables, layout, module_ids, slots, _IDENTITY, context)
        sampled = set(self._sample(tables.kept))
        moments: list[PageMoment] = []
        counts = {split: dict.fromkeys(_COUNTS, 0) for split in SPLITS}
        for split in SPLITS:
            for group in writer.write(split, self.prepared / split):
                counts[split]["pages"] += len(group)
                for name, column in (("clicks", "click"), ("intents", "intent"), ("purchases", "purchase")):
                    counts[split][name] += int(group[column].combine_chunks().flatten().to_numpy().sum())
                moments += _moments(group, sampled, layout)
        assert_point_in_time(moments, self._events_of([m.user_id for m in moments], logs), layout)
        return counts

    def _sample(self, kept: ir.Table) -> list[str]:
        known = kept.filter(kept.user_id.notnull())
        drawn = known.mutate(order=(known.page_id + "/sample").hexdigest("md5")).order_by("order").limit(SAMPLE)
        return drawn.select("page_id").to_pyarrow()["page_id"].to_pylist()

    def _events_of(self, user_ids: list[str | None], logs: Logs) -> dict[str, list[UserEvent]]:
        users = logs.users.select("user", "user_id")
        mine = users.filter(users.user_id.isin(sorted({u for u in user_ids if u is not None})))
        events = logs.events.join(mine, "user").select("user_id", "us", "kind", "family", "category", "seq")
        found: dict[str, list[UserEvent]] = {}
        for row in events.order_by("seq").to_pyarrow().to_pylist():
            family = None if row["family"] is None else logs.families[row["family"]]
            category = None if row["category"] is None else logs.categories[row["category"]]
            found.setdefault(row["user_id"], []).append(UserEvent(row["us"], row["kind"], family, category))
        return found

    def _slot_bias(self, shown: Exposure, slots: int) -> SlotBias:
        bias, note = slot_bias_of(shown, self.params.slot_bias, slots)
        self.notes += [note] if note else []
        bias.write(self.prepared / "slot_bias.json")
        return bias

    def _modules(self, logs: Logs, shown: Exposure) -> pa.Table:
        declared = [column.name for column in self.features.modules]
        own = ["module_id", "family", "algorithm", "theme", "recall", *declared]
        modules = logs.modules.order_by("module").select(*own).to_pyarrow()
        views, clicks, note = module_counts(shown, len(modules))
        self.notes += [note] if note else []
        modules = module_table(modules, views, clicks, self.params.slot_bias.smoothing_views)
        pq.write_table(modules, self.prepared / "modules.parquet", compression="zstd")
        return modules

    def _encoder(self, fields: tuple, modules: pa.Table, slots: int) -> None:
        columns: dict[str, Any] = {
            name: modules[name].to_numpy() if pa.types.is_floating(modules[name].type) else modules[name].to_pylist()
            for name in modules.column_names
        }
        columns[CTR_LOG_ODDS] = log_odds(columns["ctr"])
        encoder = Encoder.fit(
            fields,
            ParquetColumns(self.prepared / "train"),
            module_fields(self.features),
            columns,
            slots=slots,
            min_count=self.params.encoder.min_count,
            title_tokens=self.params.encoder.title_tokens,
            vocabulary=self.params.encoder.vocabulary,
        )
        encoder.save(self.prepared / "encoder")

    def _users(self, logs: Logs, layout: CounterLayout) -> int:
        ends = (int(t.us.max().fill_null(0).execute()) for t in (logs.pages, logs.events))
        reference_us = max(ends) + 1  # counters hold what is strictly before, and the last event counts
        declared = tuple(column.name for column in self.features.users)
        events = logs.events.filter(logs.events.user.notnull())
        events = events.select("user", "us", "seq", "kind", "family", "category")

        def rows() -> Any:
            for low, high in self._user_chunks(logs, logs.users, events):
                users = logs.users.filter(logs.users.user.between(low, high))
                theirs = events.filter(events.user.between(low, high))
                yield from snapshot_rows(users, theirs, layout, reference_us, declared)

        return write_snapshot(
            self.prepared / "users.sqlite", rows(), layout, reference_us=reference_us, declared=declared
        )

    def _observed(self, logs: Logs) -> Literal["pages", "single"]:
        filled = logs.shown.group_by("page").agg(slots=logs.shown.count())
        return "pages" if int(filled.slots.max().fill_null(0).execute()) > 1 else "single"

    def _by_policy(self, traffic: ir.Table) -> dict[str, dict[str, dict[str, int]]]:
        """What was logged, before sampling: split, policy, and pages, clicks, purchases."""
        counts = traffic.group_by("split", "policy").agg(
            pages=traffic.count(), clicks=traffic.clicks.sum(), purchases=traffic.purchases.sum()
        )
        found: dict[str, dict[str, dict[str, int]]] = {split: {} for split in SPLITS}
        for row in counts.order_by(["split", "policy"]).to_pyarrow().to_pylist():
            found[row.pop("split")][row.pop("policy")] = row
        return found

    def _matched(self, logs: Logs) -> dict[str, dict[str, int]]:
        """Events by kind, and how many of them belong to an impression."""
        events = logs.events
        counts = events.group_by("kind").agg(logged=events.count(), on_impressions=events.page.count())
        rows = counts.order_by("kind").to_pyarrow().to_pylist()
        return {row.pop("kind"): row for row in rows}


def _moments(group: pa.Table, sampled: set[str], layout: CounterLayout) -> list[PageMoment]:
    page_ids = group["page_id"].to_pylist()
    rows = pa.array([row for row, page_id in enumerate(page_ids) if page_id in sampled], pa.int64())
    names = ["page_id", "user_id", "hero_category", *layout.names]
    us = group["ts"].cast(pa.int64()).take(rows).to_pylist()
    return [
        PageMoment(row["page_id"], row["user_id"], at, row["hero_category"], row)
        for row, at in zip(group.select(names).take(rows).to_pylist(), us, strict=True)
    ]
