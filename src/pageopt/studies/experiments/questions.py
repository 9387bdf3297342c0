"""The questions that the experiments were made for, answered in a line each."""

from pageopt.evaluation.policy_value import Metric
from pageopt.studies.experiments.findings import Answer
from pageopt.studies.experiments.lifts import OverSeeds
from pageopt.studies.experiments.results import Results
from pageopt.studies.experiments.tables import Question, Side


def answer(results: Results, asked: Question, objective: str) -> Answer:
    """The answer: what is demanded is held against the metric that pages are made for, PTR, or CTR where `objective`
    is "click".
    """
    metrics: tuple[Metric, Metric] = ("ctr", "ptr") if objective == "click" else ("ptr", "ctr")
    figures = {metric: _figure(results, asked, metric) for metric in metrics}
    told = [f"{metric.upper()} {_told(figure, asked)}" for metric, figure in figures.items() if figure]
    return Answer(
        asked.ask,
        "; ".join(told) or "cannot be said: the static page earns nothing, or the oracle no more",
        None if asked.demand is None else _reached(figures[metrics[0]], asked.demand),
        figures,
    )


def _figure(results: Results, asked: Question, metric: str) -> OverSeeds | None:
    if asked.share is not None:
        return results.share(asked.variant, str(asked.share.model), f"true_{metric}")
    other = asked.against or Side(model=asked.model)
    return results.lift(asked.variant, Side(model=asked.model), other, f"true_{metric}")


def _told(figure: OverSeeds, asked: Question) -> str:
    if asked.share is not None:
        told = f"{figure.value:.0%} ({figure.low:.0%} to {figure.high:.0%})"
        return f"{told}, {asked.demand:.0%} demanded" if asked.demand else told
    verdict = "undecided" if figure.low <= 0 <= figure.high else "more" if figure.value > 0 else "less"
    return f"{figure.value:+.1%} ({figure.low:+.1%} to {figure.high:+.1%}): {verdict}"


def _reached(figure: OverSeeds | None, demand: float | str) -> bool:
    if figure is None:
        return False
    if demand == "more":
        return figure.low > 0
    if demand == "alike":
        return figure.low <= 0 <= figure.high
    return figure.value >= float(demand)
