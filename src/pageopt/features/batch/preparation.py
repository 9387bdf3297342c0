"""Checked logs to prepared data: what stage prepare does, step by step, all in one database.

Strings become integers once (`logs`); from then on every table is narrow, keyed by the number of the page, and made by
one Ibis expression, each from the module of its name. Memory is bounded by the database's limit, by chunks of users for
the counters, and by row groups for the output. Outputs are the same bytes for the same logs and params.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pageopt.check.findings import Shape
from pageopt.config import FeatureParams, PrepareParams
from pageopt.features.batch import point_in_time, traffic
from pageopt.features.batch.context import candidates, with_context
from pageopt.features.batch.exposure import Exposure, module_counts, slot_bias_of, usual_clicks
from pageopt.features.batch.labels import labels_of
from pageopt.features.batch.logs import Logs, names_of, read_logs
from pageopt.features.batch.module_table import encoder_columns, module_table
from pageopt.features.batch.page_counters import count
from pageopt.features.batch.page_writer import PageTables, PageWriter
from pageopt.features.batch.sampling import sample
from pageopt.features.batch.snapshot_rows import write_users
from pageopt.features.batch.split import SPLITS, split_times
from pageopt.features.batch.topics import item_topics
from pageopt.features.batch.user_events import UserEvents, user_events
from pageopt.features.counters import CounterLayout
from pageopt.features.encoder import Encoder
from pageopt.features.prepared import PrepareReport, Schema
from pageopt.features.schema import module_fields, page_fields
from pageopt.features.slot_bias import SlotBias
from pageopt.problems.base import Problem
from pageopt.problems.fields import Field
from pageopt.tables.database import Database, store
from pageopt.tables.parquet import ParquetColumns

STEPS = ("read logs", "labels", "split and sample", "slots and modules", "counters", "pages", "encoder", "users")
_COUNTED = {"clicks": "click", "intents": "intent", "purchases": "purchase"}


@dataclass(frozen=True)
class Job:
    """What is to be prepared: pages of `problem`, from the folder `checked` to the folder `prepared`.

    `connection` is an empty database; `params` and `features` are the sections prepare and features.
    """

    connection: Database
    problem: Problem
    checked: Path
    prepared: Path
    params: PrepareParams
    features: FeatureParams


def prepare(job: Job, progress: Callable[[str], None] = lambda step: None) -> PrepareReport:
    """Make the prepared data anew, and return the report; `progress` is told the name of each step before it starts.

    Raises:
        ContractError: tables are missing, a split would be empty, or features fail the point-in-time check.
    """
    shutil.rmtree(job.prepared, ignore_errors=True)
    job.prepared.mkdir(parents=True)
    slots = Shape.read(job.checked / "shape.json").slots
    progress("read logs")
    logs = read_logs(job.connection, job.problem, job.checked, job.features, job.params.purchase_window_hours)
    progress("labels")
    labels = store(job.connection, "labels", labels_of(logs.events, job.params).order_by("page"))
    progress("split and sample")
    times = split_times(logs.pages, job.params.split)
    logged = store(job.connection, "traffic", traffic.traffic_of(logs.pages, labels, times))
    sampled, rates = sample(logged, job.params.sampling)
    kept = store(job.connection, "kept", sampled)
    progress("slots and modules")
    shown = Exposure.of(logged.filter(logged.split == "train"), logs.shown, labels)
    bias, modules, notes = _write_modules(job, logs, shown, slots)
    progress("counters")
    topics = item_topics(logs.items.order_by("item").to_pyarrow(), job.params.counters.topics)
    layout = _layout(job, logs, shown, modules, topics)
    fields = page_fields(job.problem, job.features, layout)
    events = user_events(logs, layout, topics)
    counters = count(kept, logs, events, layout)
    progress("pages")
    counts = _write_pages(job, _page_tables(job, logs, kept, labels, counters), logs, events, layout, slots, fields)
    progress("encoder")
    _fit_encoder(job, fields, modules, slots)
    progress("users")
    declared = tuple(column.name for column in job.features.users)
    users = write_users(job.prepared / "users.sqlite", logs, events, layout, declared)
    _schema(job, logs, layout, slots, fields, counts).write(job.prepared / "schema.json")
    return PrepareReport(
        **counts,
        traffic=traffic.by_policy(logged),
        events=traffic.by_kind(logs.events),
        uncredited=traffic.uncredited(logs.events, labels),
        kept_rate=asdict(rates),
        examination={"click": bias.click["all"], "purchase": bias.purchase["all"]},
        users=users,
        fields=len(fields),
        notes=notes,
    )


def _layout(job: Job, logs: Logs, shown: Exposure, modules: pa.Table, topics: pa.Table) -> CounterLayout:
    """The counters of section prepare, by what the logs hold."""
    params, prior_views = job.params.counters, job.params.slot_bias.smoothing_views
    number = 1 + (pc.max(topics["key"]).as_py() if len(topics) else -1)
    return CounterLayout(
        half_lives_hours=params.half_lives_hours,
        kinds=params.kinds,
        categories=logs.categories,
        topics=tuple(f"{topic:02}" for topic in range(number)),
        lifts={by: usual_clicks(shown, modules[by].to_pylist(), prior_views) for by in params.lifts},
        lift_half_lives_hours=params.lift_half_lives_hours,
        prior_clicks=params.prior_clicks,
    )


def _page_tables(job: Job, logs: Logs, kept: ir.Table, labels: ir.Table, counters: ir.Table) -> PageTables:
    context = store(job.connection, "context", with_context(kept, logs, job.problem, job.features))
    lists = store(job.connection, "candidates", candidates(kept, logs))
    return PageTables(context, logs.shown, labels, counters, lists)


def _write_pages(
    job: Job,
    tables: PageTables,
    logs: Logs,
    events: UserEvents,
    layout: CounterLayout,
    slots: int,
    fields: tuple[Field, ...],
) -> dict[str, dict[str, int]]:
    """Write the splits, hold a sample of their features against the events, and count what was written by split."""
    columns = (*job.problem.identity, *(field.name for field in fields if field.source != "counter"))
    writer = PageWriter(tables, layout, logs.module_ids, slots, columns)
    sampled = point_in_time.sample(tables.kept)
    moments: list[point_in_time.PageMoment] = []
    counts = {name: dict.fromkeys(SPLITS, 0) for name in ("pages", *_COUNTED)}
    for split in SPLITS:
        for group in writer.write(split, job.prepared / split):
            counts["pages"][split] += len(group)
            for name, label in _COUNTED.items():
                counts[name][split] += int(group[label].combine_chunks().flatten().to_numpy().sum())
            moments += point_in_time.moments(group, sampled, job.problem.category, layout)
    point_in_time.assert_point_in_time(moments, point_in_time.events_of(moments, logs, events, layout), layout)
    return counts


def _write_modules(job: Job, logs: Logs, shown: Exposure, slots: int) -> tuple[SlotBias, pa.Table, list[str]]:
    """What the train traffic says of slots and of modules, and the notes on how it could be known."""
    bias, bias_note = slot_bias_of(shown, job.params.slot_bias, slots)
    bias.write(job.prepared / "slot_bias.json")
    views, clicks, module_note = module_counts(shown, len(logs.module_ids))
    modules = module_table(logs.modules, job.features, views, clicks, job.params.slot_bias.smoothing_views)
    pq.write_table(modules, job.prepared / "modules.parquet", compression="zstd")
    return bias, modules, [note for note in (bias_note, module_note) if note]


def _fit_encoder(job: Job, fields: tuple[Field, ...], modules: pa.Table, slots: int) -> None:
    encoder = Encoder.fit(
        fields,
        ParquetColumns(job.prepared / "train"),
        module_fields(job.features),
        encoder_columns(modules),
        slots=slots,
        **job.params.encoder.model_dump(),
    )
    encoder.save(job.prepared / "encoder")


def _schema(
    job: Job,
    logs: Logs,
    layout: CounterLayout,
    slots: int,
    fields: tuple[Field, ...],
    counts: dict[str, dict[str, int]],
) -> Schema:
    return Schema(
        slots=slots,
        families=names_of(logs.modules.family),
        modules=len(logs.module_ids),
        observed=traffic.observed(logs.shown),
        has_purchase=counts["purchases"]["train"] > 0,
        has_intent=counts["intents"]["train"] > 0,
        fields=fields,
        module_fields=module_fields(job.features),
        pages=counts["pages"],
        clicks=counts["clicks"],
        counters=layout,
    )
