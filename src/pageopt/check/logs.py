"""Checks all tables of a log, in an order in which each refers only to tables already checked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ibis
import ibis.expr.types as ir

from pageopt import contract
from pageopt.check import rules
from pageopt.check.casting import cast
from pageopt.check.quarantine import REASON, ROW, part
from pageopt.contract import Table
from pageopt.errors import ContractError
from pageopt.problems.base import Subject
from pageopt.tables.database import Database, database, hashed, numbered

MEMORY, THREADS = "2GB", 2
SHARE_OF_PAGES = 0.01
"""A slot belongs to the page if at least this share of pages fill it."""


@dataclass(frozen=True)
class CheckedLogs:
    """What the check found. Times are ISO texts in UTC; `ignored` are columns neither in the contract nor declared."""

    slots: int
    rows: dict[str, int]
    quarantined: dict[str, dict[str, int]]
    ignored: dict[str, list[str]]
    first_page_ts: str | None
    last_page_ts: str | None
    last_event_ts: str | None

    @property
    def bad_share(self) -> float:
        """Quarantined rows as a share of all rows, over all tables."""
        bad = sum(sum(reasons.values()) for reasons in self.quarantined.values())
        return bad / max(1, bad + sum(self.rows.values()))


def check_logs(
    raw: Path,
    checked: Path,
    quarantine: Path,
    scratch: Path,
    tables: dict[str, Table],
    subject: Subject,
    slots: int | None = None,
    progress: Callable[[str], None] = lambda table: None,
) -> CheckedLogs:
    """Part `raw/<table>/*.parquet` into `checked/<table>` and `quarantine/<table>`, both absent at the start.

    Runs in DuckDB, out of core: memory does not grow with the log. `subject` is what pages are about. `slots` None: the
    deepest slot that 1 % of pages fill. `progress` is told each table before its turn.

    Raises ContractError where a table or a required column is missing.
    """
    files = {name: _files(raw, table) for name, table in tables.items()}
    with database(scratch, MEMORY, THREADS) as con:
        return _Check(con, tables, subject, files, checked, quarantine, progress).run(slots)


def _files(raw: Path, table: Table) -> list[Path]:
    files = sorted((raw / table.name).glob("*.parquet"))
    if not files and not table.optional:
        raise ContractError(
            f"The log has no table {table.name}: no Parquet files in {raw / table.name}. It must have the columns "
            f"{', '.join(table.required)}. Run `pageopt collect` again, or add the table to your logs."
        )
    return files


@dataclass
class _Check:
    """One run: the database, and what was found so far."""

    con: Database
    tables: dict[str, Table]
    subject: Subject
    files: dict[str, list[Path]]
    checked: Path
    quarantine: Path
    progress: Callable[[str], None]
    rows: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, dict[str, int]] = field(default_factory=dict)
    ignored: dict[str, list[str]] = field(default_factory=dict)

    def run(self, slots: int | None) -> CheckedLogs:
        modules = self._part("modules", order=("module_id",))
        known_modules = modules.select("module_id", known_module=True)
        items = self._part("items", order=("item_id",), rules_of=lambda rows: rules.of_price(rows.price))
        subjects = {"modules": modules, "items": items}[self.subject.table]
        if self.files["users"]:
            self._part("users", order=("user_id",))

        pages = self._pages(modules, subjects)
        first_page_ts, last_page_ts = _range(pages)
        shown = pages.select("page_id", page_ts="ts", page_candidates="hashed_candidates")
        slots = slots or self._deepest_slot(pages)
        self._part(
            "impressions",
            order=("page_ts", "page_id", "slot"),
            rules_of=lambda rows: rules.of_impression(rows, slots),
            join=lambda rows: rows.left_join(shown, "page_id").left_join(known_modules, "module_id"),
        )
        events = self._part(
            "events",
            order=("ts", "event_id"),
            rules_of=lambda rows: rules.of_event(rows, slots),
            join=lambda rows: rows.left_join(shown.drop("page_candidates"), "page_id").left_join(
                known_modules, "module_id"
            ),
        )
        _, last_event_ts = _range(events)

        self.progress("the result")
        for name in self.rows:
            checked = self.con.read_parquet(self.checked / name / "*.parquet")
            contract.validate(self.tables[name], checked, slots)
        return CheckedLogs(slots, self.rows, self.quarantined, self.ignored, first_page_ts, last_page_ts, last_event_ts)

    def _pages(self, modules: ir.Table, subjects: ir.Table) -> ir.Table:
        typed, _ = self._typed(self.tables["pages"])
        key, name = self.subject.key, self.subject.named
        named = typed.select(module_id=typed.candidates.unnest()).distinct()
        # almost always empty, so that no page has to be compared with the whole list of modules
        unknown = named.anti_join(modules, "module_id").module_id.to_pyarrow().to_pylist()
        return self._part(
            "pages",
            order=("ts", "page_id"),
            rules_of=lambda rows: rules.of_page(rows, self.subject.called, unknown),
            join=lambda rows: rows.left_join(subjects.select(**{name: key, "known_subject": True}), name).mutate(
                hashed_candidates=rows.candidates.map(hashed)
            ),
            keep=("hashed_candidates",),
        )

    def _part(
        self,
        name: str,
        order: tuple[str, ...],
        rules_of: Callable[[ir.Table], Sequence[rules.Rule]] = lambda rows: (),
        join: Callable[[ir.Table], ir.Table] = lambda rows: rows,
        keep: tuple[str, ...] = (),
    ) -> ir.Table:
        """Hold a table against its rules; the good rows, without lists but with `keep`.

        `join` adds what the rules, `order` and `keep` need.
        """
        self.progress(name)
        table = self.tables[name]
        typed, failed = self._typed(table)
        rows = join(typed)
        broken = (
            *rules.of_types(table, {column: rows[mark] for column, mark in failed.items()}),
            *rules.of_nulls(table, rows),
            *rules_of(rows),
        )
        # lists of texts are slow to keep in the database; they are read from the source again
        kept = [column.name for column in table.columns if column.type != "strings"]
        judged = rows.select(*dict.fromkeys((ROW, *kept, *order, *keep)), rules.first_broken(broken).name(REASON))
        parted = part(
            self.con, table, self._raw(table), typed, judged, order, self.checked / name, self.quarantine / name
        )
        self.rows[name] = parted.rows
        self.quarantined[name] = parted.quarantined
        return parted.good

    def _raw(self, table: Table) -> ir.Table:
        """The rows as the source gave them, and ROW."""
        return numbered(self.con, f"raw_{table.name}", self.files[table.name], ROW)

    def _typed(self, table: Table) -> tuple[ir.Table, dict[str, str]]:
        """The contract's columns with its types, and ROW; further the name of the mark of failed conversions by column.

        Raises ContractError where a required column, or a declared one, is missing.
        """
        raw = self._raw(table)
        columns: dict[str, ir.Value] = {}
        failed: dict[str, str] = {}
        for column in table.columns:
            if column.name in raw.columns:
                columns[column.name], bad = cast(raw[column.name], column)
                failed[column.name] = f"__bad_{column.name}"
                columns[failed[column.name]] = bad
            elif column.nullable and column.name in contract.TABLES[table.name].names:
                columns[column.name] = ibis.null(column.ibis_type)
            else:
                raise _missing(table, column, [name for name in raw.columns if name != ROW])
        self.ignored[table.name] = sorted(set(raw.columns) - set(columns) - {ROW})
        return raw.select(ROW, **columns), failed

    def _deepest_slot(self, pages: ir.Table) -> int:
        impressions, _ = self._typed(self.tables["impressions"])
        filled = (
            impressions.filter(impressions.slot >= 1)
            .group_by("slot")
            .aggregate(pages=ibis._.count())
            .order_by("slot")
            .to_pyarrow()
            .to_pylist()
        )
        enough = SHARE_OF_PAGES * self.rows["pages"]
        deep = [row["slot"] for row in filled if row["pages"] >= enough]
        if not deep:
            raise ContractError(
                f"No slot is filled on {SHARE_OF_PAGES:.0%} of the pages, so the depth of the page cannot be told from "
                "the impressions. Set check.slots in params.yaml, and see that impressions.slot counts from 1."
            )
        return max(deep)


def _missing(table: Table, column: contract.Column, given: list[str]) -> ContractError:
    declared = column.name not in contract.TABLES[table.name].names
    fix = (
        f"It is declared in params.yaml under features.{table.name}: add the column to your table, or remove the entry."
        if declared
        else f"Add it ({column.type}: {column.meaning}), or rename the column that holds it."
    )
    return ContractError(f"Table {table.name} has no column {column.name}; it has {', '.join(given)}. {fix}")


def _range(rows: ir.Table) -> tuple[str | None, str | None]:
    """ISO texts of the first and last `ts`; None where there are no rows."""
    span = rows.aggregate(first=rows.ts.min(), last=rows.ts.max()).to_pyarrow().to_pylist()[0]
    return tuple(value.isoformat() if value else None for value in (span["first"], span["last"]))  # type: ignore[return-value]
