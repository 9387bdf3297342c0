"""Which pages the train split keeps (TRNN paper, section 4.1).

Pages with no interaction are many and say little each: a share of them is kept, and weighs the more. Production pages
show what the last model liked: they are cut to the volume of exploration, on purpose and without a weight, since the
mix of policies is what a model should learn from, not the traffic's. Valid and test are never sampled.
"""

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from pageopt.config import SamplingParams

EXPLORATION = ("random", "thompson")
_BITS = 64


@dataclass(frozen=True)
class Rates:
    """Shares of train pages kept: those without interaction, and those of policies that do not explore."""

    no_interaction: float
    production: float


def rates(pages_by_policy: dict[str, int], params: SamplingParams) -> Rates:
    """Rates from the train pages of each policy. Logs without exploration, or without production, are kept whole."""
    exploring = sum(count for policy, count in pages_by_policy.items() if policy in EXPLORATION)
    production = sum(pages_by_policy.values()) - exploring
    share = 1.0
    if exploring and production:
        share = min(1.0, params.production_to_exploration * exploring / production)
    return Rates(params.no_interaction_rate, share)


def falls_below(key: ir.StringColumn, rate: float, salt: str) -> ir.BooleanColumn:
    """True for about a share `rate` of keys: the same keys every time and on every engine; salts are independent."""
    if rate >= 1:
        return ibis.literal(True)
    # Sixteen hex digits of a digest, compared as text, are 64 bits compared as a number.
    return (ibis.literal(f"{salt}/") + key).hexdigest("md5").substr(0, _BITS // 4) < f"{int(rate * 2**_BITS):016x}"


def keep(pages: ir.Table, rates: Rates, seed: int) -> ir.Table:
    """The train pages to keep, with weight.

    Args:
        pages: page_id, policy, and interacted (bool: any click, intent event or purchase).
        rates: from `rates`.
        seed: another seed keeps other pages.

    Returns:
        The rows kept, with weight float32: 1 / rate of its kind for pages without interaction, else 1.
    """
    quiet = falls_below(pages.page_id, rates.no_interaction, f"{seed}/interaction")
    volume = falls_below(pages.page_id, rates.production, f"{seed}/production")
    kept = pages.filter((pages.interacted | quiet) & (pages.policy.isin(EXPLORATION) | volume))
    return kept.mutate(weight=ibis.ifelse(kept.interacted, 1.0, 1.0 / rates.no_interaction).cast("float32"))


def sample(traffic: ir.Table, params: SamplingParams) -> tuple[ir.Table, Rates]:
    """The pages of `traffic` that are prepared, with weight, in order; and the rates at which train was sampled."""
    train = traffic.filter(traffic.split == "train")
    volume = train.group_by("policy").agg(pages=train.count()).to_pyarrow().to_pylist()
    shares = rates({row["policy"]: row["pages"] for row in volume}, params)
    others = traffic.filter(traffic.split != "train").mutate(weight=ibis.literal(1.0, "float32"))
    return keep(train, shares, params.seed).union(others).order_by("page"), shares
