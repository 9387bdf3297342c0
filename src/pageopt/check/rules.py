"""The row rules of the contract: what makes a row bad, and what that is called in the quarantine.

Every rule sees the row with the contract's types, plus what was joined to it, and is true where it is broken. A row
goes to quarantine for the first rule that it breaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from pageopt.contract import KINDS, Table
from pageopt.tables.database import distinct, hashed

UNKNOWN_MODULE = "unknown module"
SLOT = "slot out of range"


@dataclass(frozen=True)
class Rule:
    """A reason, and the condition under which a row is quarantined for it (null counts as false)."""

    reason: str
    broken: ir.BooleanValue


def duplicate(table: Table) -> str:
    """The reason for a row whose key an earlier row already has."""
    return f"duplicate {table.key[0]}" if len(table.key) == 1 else f"duplicate ({', '.join(table.key)})"


def first_broken(rules: Sequence[Rule]) -> ir.StringValue:
    """The reason of the first broken rule, null for a good row."""
    return ibis.cases(*((rule.broken.fill_null(False), rule.reason) for rule in rules), else_=ibis.null("string"))


def of_types(table: Table, failed: dict[str, ir.BooleanValue]) -> list[Rule]:
    """A value that did not convert to the contract's type; `failed` by column."""
    return [Rule(f"bad type ({name})", failed[name]) for name in table.names if name in failed]


def of_nulls(table: Table, rows: ir.Table) -> list[Rule]:
    """A required column without a value."""
    return [Rule(f"missing value ({name})", rows[name].isnull()) for name in table.required]


def of_price(price: ir.FloatingValue) -> list[Rule]:
    """A price is a finite number that is not negative."""
    return [Rule("NaN price", price.isnan() | price.isinf()), Rule("negative price", price < 0)]


def of_page(rows: ir.Table, subject: str, unknown_candidates: Sequence[str | None]) -> list[Rule]:
    """A page is about a `subject` that exists and could have shown modules that exist.

    `rows` has `known_subject` and `hashed_candidates` joined. `unknown_candidates` holds the candidates, of any page,
    that are no modules.
    """
    candidates = rows.candidates
    rules = [Rule(f"unknown {subject}", rows.known_subject.isnull())]
    if None in unknown_candidates:
        rules.append(Rule(UNKNOWN_MODULE, candidates.length() > candidates.filter(lambda m: m.notnull()).length()))
    unknown = [module for module in unknown_candidates if module is not None]
    if unknown:
        rules.append(Rule(UNKNOWN_MODULE, candidates.intersect(ibis.array(unknown)).length() > 0))
    return [*rules, Rule("repeated candidate", distinct(rows.hashed_candidates) < candidates.length())]


def of_impression(rows: ir.Table, slots: int) -> list[Rule]:
    """An impression is one of the page's candidates in one of its slots.

    `rows` has `known_module` and the page's `page_ts` and hashed `page_candidates` joined.
    """
    return [
        Rule("impression of an unknown page", rows.page_ts.isnull()),
        Rule(UNKNOWN_MODULE, rows.known_module.isnull()),
        Rule(SLOT, (rows.slot < 1) | (rows.slot > slots)),
        Rule("module not among the page's candidates", ~rows.page_candidates.contains(hashed(rows.module_id))),
        # NaN is asked for by name: the statistics of Parquet files leave it out, and DuckDB trusts them in comparisons
        Rule("propensity outside (0, 1]", rows.propensity.isnan() | (rows.propensity <= 0) | (rows.propensity > 1)),
    ]


def of_event(rows: ir.Table, slots: int) -> list[Rule]:
    """An event is of a known kind and, where it names a page or a module, of one that exists and after it was shown.

    `rows` has `known_module` and `page_ts` joined.
    """
    return [
        Rule("unknown kind", ~rows.kind.isin(KINDS)),
        Rule("event of an unknown page", rows.page_id.notnull() & rows.page_ts.isnull()),
        Rule("event before its page", rows.ts < rows.page_ts),
        Rule(UNKNOWN_MODULE, rows.module_id.notnull() & rows.known_module.isnull()),
        Rule(SLOT, (rows.slot < 1) | (rows.slot > slots)),
        *of_price(rows.price),
    ]
