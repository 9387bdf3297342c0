"""What a page's log, what it is about and its user say of it, in the columns of the data contract."""

import ibis.expr.types as ir

from pageopt.config import FeatureParams
from pageopt.features.batch.logs import Logs
from pageopt.problems.base import Problem


def with_context(kept: ir.Table, logs: Logs, problem: Problem, features: FeatureParams) -> ir.Table:
    """The pages `kept` with their identity and every raw column that is no counter."""
    subject = problem.subject
    own = [column.name for column in features.pages]
    source = logs.checked["pages"].select("page_id", "user_id", "ts", subject.named, *own)
    items = logs.items.select(subject.key, *(column.name for column in features.items), **subject.columns)
    users = logs.users.select("user", *(column.name for column in features.users))
    full = kept.select("page", "page_id", "user", "policy", "platform", "split", "weight").join(source, "page_id")
    full = full.left_join(items, full[subject.named] == items[subject.key]).drop(subject.key)
    full = full.left_join(users, "user").drop("user_right", "user")
    return full.order_by("page")


def candidates(kept: ir.Table, logs: Logs) -> ir.Table:
    """page, and the list of module_id that could have been shown, of the pages that models are judged on."""
    judged = kept.filter(kept.split != "train").select("page", "page_id")
    lists = judged.join(logs.checked["pages"].select("page_id", "candidates"), "page_id")
    return lists.select("page", "candidates").order_by("page")
