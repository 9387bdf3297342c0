"""The estimators of a policy's value: what tables call each, and how it is made. A new one is an entry here."""

from collections.abc import Callable
from dataclasses import dataclass

from pageopt.evaluation.estimate import Estimate, Floats, UserBootstrap
from pageopt.evaluation.offpolicy import dr_contributions, sndr_estimate, snips_estimate
from pageopt.evaluation.policy_value import PolicyValue, Terms

Parts = tuple[Floats, Floats, Floats, Floats]


@dataclass(frozen=True)
class Estimator:
    """`estimate` gives None where the log does not offer it, and raises EvaluationError where it is undefined."""

    title: str
    estimate: Callable[[PolicyValue, Terms, UserBootstrap], Estimate | None]


def _filled(value: PolicyValue, terms: Terms) -> Parts:
    """Reward, weight, q_logged and q_target of the slots that the policy fills."""
    parts = (terms.reward, terms.weight, terms.q_logged, terms.q_target)
    if value.single:  # one slot a page: all slots of the log together make the value of a page
        reward, weight, q_logged, q_target = (part.sum(axis=1, keepdims=True) for part in parts)
    else:
        filled = value.weights.filled.any(axis=0)
        reward, weight, q_logged, q_target = (part[:, filled] for part in parts)
    return reward, weight, q_logged, q_target


def _cascade(value: PolicyValue, terms: Terms, bootstrap: UserBootstrap) -> Estimate | None:
    if value.cascade is None:
        return None
    return bootstrap.mean(dr_contributions(terms.reward, value.cascade, terms.q_logged, terms.q_target))


def _page(value: PolicyValue, terms: Terms, bootstrap: UserBootstrap) -> Estimate | None:
    if value.page is None:
        return None
    return bootstrap.mean(value.page["click" if terms is value.click else "purchase"])


ESTIMATORS = {
    "dm": Estimator("DM", lambda _, terms, bootstrap: bootstrap.mean(terms.dm)),
    "ips": Estimator("IPS", lambda _, terms, bootstrap: bootstrap.mean(terms.ips)),
    "snips": Estimator("SNIPS", lambda value, terms, boot: snips_estimate(*_filled(value, terms)[:2], boot)),
    "sndr": Estimator("SN-DR", lambda value, terms, bootstrap: sndr_estimate(*_filled(value, terms), bootstrap)),
    "dr": Estimator("DR", lambda _, terms, bootstrap: bootstrap.mean(terms.dr)),
    "cascade_dr": Estimator("Cascade-DR", _cascade),
    "page_dr": Estimator("page-aware DR", _page),
}
