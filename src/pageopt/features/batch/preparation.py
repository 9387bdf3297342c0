"""Checked logs to prepared data: what stage prepare does, step by step, all in one database.

Strings become integers once (`logs`); from then on every table is narrow, keyed by the number of the page, and made by
one Ibis expression, each from the module of its name. Memory is bounded by the database's limit, by chunks of users for
the counters, and by row groups for the output. Outputs are the same bytes for the same logs and params.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from pageopt.check.findings import Shape
from pageopt.config import FeatureParams, PrepareParams
from pageopt.features.batch import point_in_time, traffic
from pageopt.features.batch.context import candidates, with_context
from pageopt.features.batch.exposure import Exposure, module_counts, slot_bias_of
from pageopt.features.batch.labels import labels_of
from pageopt.features.batch.logs import Logs, read_logs
from pageopt.features.batch.module_table import encoder_columns, module_table
from pageopt.features.batch.page_counters import count
from pageopt.features.batch.page_writer import PageTables, PageWriter
from pageopt.features.batch.sampling import sample
from pageopt.features.batch.snapshot_rows import write_users
from pageopt.features.batch.split import SPLITS, split_times
from pageopt.features.counters import CounterLayout
from pageopt.features.encoder import Encoder
from pageopt.features.prepared import PrepareReport, Schema
from pageopt.features.schema import module_fields, page_fields
from pageopt.problems.base import Problem
from pageopt.tables.database import Database, store
from pageopt.tables.parquet import ParquetColumns

STEPS = ("read logs", "labels", "split and sample", "counters", "pages", "slots and modules", "encoder", "users")
_COUNTED = {"clicks": "click", "intents": "intent", "purchases": "purchase"}


def prepare(
    connection: Database,
    problem: Problem,
    checked: Path,
    prepared: Path,
    params: PrepareParams,
    features: FeatureParams,
    progress: Callable[[str], None] = lambda step: None,
) -> PrepareReport:
    """Make the folder `prepared` anew from the folder `checked`, and return the report.

    `connection` is an empty database; `progress` is told the name of each step before it starts.

    Raises:
        ContractError: tables are missing, a split would be empty, or features fail the point-in-time check.
    """
    shutil.rmtree(prepared, ignore_errors=True)
    prepared.mkdir(parents=True)
    slots = Shape.read(checked / "shape.json").slots
    progress("read logs")
    logs = read_logs(connection, problem, checked, features, params.purchase_window_hours)
    layout = CounterLayout(**params.counters.model_dump(), families=logs.families, categories=logs.categories)
    fields = page_fields(problem, features, layout)
    progress("labels")
    labels = store(connection, "labels", labels_of(logs.events, params).order_by("page"))
    progress("split and sample")
    times = split_times(logs.pages, params.split)
    logged = store(connection, "traffic", traffic.traffic_of(logs.pages, labels, times))
    sampled, rates = sample(logged, params.sampling)
    kept = store(connection, "kept", sampled)
    progress("counters")
    counters = count(kept, logs, layout)
    progress("pages")
    context = store(connection, "context", with_context(kept, logs, problem, features))
    lists = store(connection, "candidates", candidates(kept, logs))
    tables = PageTables(context, logs.shown, labels, counters, lists)
    columns = (*problem.identity, *(field.name for field in fields if field.source != "counter"))
    counts = _write_pages(prepared, tables, logs, layout, slots, columns, problem.category)
    progress("slots and modules")
    shown = Exposure.of(logged.filter(logged.split == "train"), logs.shown, labels)
    bias, bias_note = slot_bias_of(shown, params.slot_bias, slots)
    bias.write(prepared / "slot_bias.json")
    views, clicks, module_note = module_counts(shown, len(logs.module_ids))
    modules = module_table(logs.modules, features, views, clicks, params.slot_bias.smoothing_views)
    pq.write_table(modules, prepared / "modules.parquet", compression="zstd")
    progress("encoder")
    Encoder.fit(
        fields,
        ParquetColumns(prepared / "train"),
        module_fields(features),
        encoder_columns(modules),
        slots=slots,
        **params.encoder.model_dump(),
    ).save(prepared / "encoder")
    progress("users")
    users = write_users(prepared / "users.sqlite", logs, layout, tuple(column.name for column in features.users))
    Schema(
        slots=slots,
        families=logs.families,
        modules=len(modules),
        observed=traffic.observed(logs.shown),
        has_purchase=counts["purchases"]["train"] > 0,
        has_intent=counts["intents"]["train"] > 0,
        fields=fields,
        module_fields=module_fields(features),
        pages=counts["pages"],
        clicks=counts["clicks"],
        counters=layout,
    ).write(prepared / "schema.json")
    return PrepareReport(
        **counts,
        traffic=traffic.by_policy(logged),
        events=traffic.by_kind(logs.events),
        kept_rate=asdict(rates),
        examination={"click": bias.click["all"], "purchase": bias.purchase["all"]},
        users=users,
        fields=len(fields),
        notes=[note for note in (bias_note, module_note) if note],
    )


def _write_pages(
    prepared: Path,
    tables: PageTables,
    logs: Logs,
    layout: CounterLayout,
    slots: int,
    columns: tuple[str, ...],
    category: str,
) -> dict[str, dict[str, int]]:
    """Write the splits, hold a sample of their features against the events, and count what was written by split."""
    writer = PageWriter(tables, layout, logs.module_ids, slots, columns)
    sampled = point_in_time.sample(tables.kept)
    moments: list[point_in_time.PageMoment] = []
    counts = {name: dict.fromkeys(SPLITS, 0) for name in ("pages", *_COUNTED)}
    for split in SPLITS:
        for group in writer.write(split, prepared / split):
            counts["pages"][split] += len(group)
            for name, label in _COUNTED.items():
                counts[name][split] += int(group[label].combine_chunks().flatten().to_numpy().sum())
            moments += point_in_time.moments(group, sampled, category, layout)
    point_in_time.assert_point_in_time(moments, point_in_time.events_of(moments, logs, layout), layout)
    return counts
