"""The questions that the experiments were made for, answered in a line each."""

from typing import Any

from pageopt.studies.experiments.lifts import OverSeeds
from pageopt.studies.experiments.results import Results
from pageopt.studies.experiments.tables import Question, Side


def answer(results: Results, asked: Question, objective: str) -> dict[str, Any]:
    """{"question", "answer", "reached", "figures": {"ctr", "ptr"}}; `reached` is null where nothing is demanded.

    Figures are of true values with intervals over seeds. What is demanded is held against the metric that pages are
    made for: PTR, or CTR where `objective` is "click".
    """
    metric = "ctr" if objective == "click" else "ptr"
    found = {name: _figure(results, asked, name) for name in (metric, "ptr" if metric == "ctr" else "ctr")}
    told = [f"{name.upper()} {_told(figure, asked)}" for name, figure in found.items() if figure]
    return {
        "question": asked.ask,
        "answer": "; ".join(told) or "cannot be said: the static page earns nothing, or the oracle no more",
        "reached": None if asked.demand is None else _reached(found[metric], asked.demand),
        "figures": {name: figure.as_json() if figure else None for name, figure in found.items()},
    }


def _figure(results: Results, asked: Question, metric: str) -> OverSeeds | None:
    if asked.share is not None:
        return results.share(asked.variant, str(asked.share.model), f"true_{metric}")
    other = asked.against or Side(model=asked.model)
    return results.lift(asked.variant, Side(model=asked.model), other, f"true_{metric}")


def _told(found: OverSeeds, asked: Question) -> str:
    if asked.share is not None:
        told = f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%})"
        return f"{told}, {asked.demand:.0%} demanded" if asked.demand else told
    verdict = "undecided" if found.low <= 0 <= found.high else "more" if found.value > 0 else "less"
    return f"{found.value:+.1%} ({found.low:+.1%} to {found.high:+.1%}): {verdict}"


def _reached(found: OverSeeds | None, demand: float | str) -> bool:
    if found is None:
        return False
    if demand == "more":
        return found.low > 0
    if demand == "alike":
        return found.low <= 0 <= found.high
    return found.value >= float(demand)
