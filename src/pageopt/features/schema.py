"""The fields of pages and modules, from the page problem, the contract, the declared features and the counters."""

from pageopt.config import FeatureParams
from pageopt.errors import ConfigError
from pageopt.features.counters import CounterLayout
from pageopt.problems.base import Problem
from pageopt.problems.fields import Field

CTR_LOG_ODDS = "ctr_log_odds"

_MODULE = (
    Field("module_id", "categorical", "module"),
    Field("family", "categorical", "module"),
    Field("algorithm", "categorical", "module"),
    Field("theme", "categorical", "module"),
    Field("recall", "categorical", "module"),
    Field(CTR_LOG_ODDS, "numeric", "module"),
)
# Columns of prepared pages and modules that are no fields; a declared feature must not take their names.
_PAGE_COLUMNS = ("weight", "candidates", "user", "page", "us")
LABELS = ("click", "intent", "purchase", "attributed")
_SLOT_COLUMNS = ("module", "propensity", *LABELS)
_MODULE_COLUMNS = ("ctr", "views", "clicks", "module", "family_code")


def page_fields(problem: Problem, features: FeatureParams, layout: CounterLayout) -> tuple[Field, ...]:
    """Every field of a page of `problem`. Raises ConfigError for a declared feature whose name is taken."""
    declared = [
        *(Field(column.name, column.kind, "page") for column in features.pages),
        *(Field(column.name, column.kind, "item") for column in features.items),
        *(Field(column.name, column.kind, "user") for column in features.users),
    ]
    fields = (*problem.fields, *declared, *counter_fields(layout))
    _must_differ(fields, (*problem.identity, *_PAGE_COLUMNS, *_SLOT_COLUMNS))
    return fields


def counter_fields(layout: CounterLayout) -> tuple[Field, ...]:
    """The fields of a page that come from its user's counters."""
    return tuple(
        Field(name, "numeric", "counter", *((group.by, key) if group.of == "module" else ()))
        for group in layout.groups
        for name, key in group.columns.items()
    )


def module_fields(features: FeatureParams) -> tuple[Field, ...]:
    """Every field of a module. Raises ConfigError for a declared feature whose name is taken."""
    fields = (*_MODULE, *(Field(column.name, column.kind, "module") for column in features.modules))
    _must_differ(fields, _MODULE_COLUMNS)
    return fields


def _must_differ(fields: tuple[Field, ...], others: tuple[str, ...]) -> None:
    names = [*others, *(field.name for field in fields)]
    taken = sorted({name for name in names if names.count(name) > 1})
    if taken:
        raise ConfigError(
            f"Features declared in params.yaml have names that prepared data uses itself: {taken}. Rename the columns."
        )
