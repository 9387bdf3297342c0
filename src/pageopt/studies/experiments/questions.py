"""The questions that the experiments were made for, answered in a line each, and over what a shop is made of."""

from pageopt.evaluation.policy_value import Metric
from pageopt.studies.experiments.findings import Answer, CurveFindings, CurveLine, CurvePoint
from pageopt.studies.experiments.lifts import OverSeeds
from pageopt.studies.experiments.results import Results
from pageopt.studies.experiments.tables import Asked, Curve, Question

ALIKE = 0.005
"""Two are alike where the interval of their relative difference lies within this on both sides of zero."""


def answer(results: Results, asked: Question, metric: Metric) -> Answer:
    """The answer in the metric that pages are made for: that is what a demand is held against."""
    figure = results.asked(asked.shop, asked, metric)
    said = f"{metric.upper()} {told(figure, asked)}" if figure else "cannot be said: there is nothing to gain"
    reached = None if asked.demand is None else figure is not None and _reached(figure, asked.demand)
    return Answer(asked.ask, said, reached, asked.shop, asked.demand, figure)


def curve(results: Results, asked: Curve, metric: Metric) -> CurveFindings:
    """A line of points for each of the lines asked for; a point without a figure is left out."""
    lines = []
    for line in asked.lines:
        figures = {at: results.asked(shop, line, metric) for at, shop in asked.shops.items()}
        lines.append(CurveLine(line.title, [CurvePoint(at, of) for at, of in figures.items() if of]))
    return CurveFindings(asked.id, asked.title, asked.x, lines)


def told(figure: OverSeeds, asked: Asked) -> str:
    """The figure with its interval, and for a change what it comes to."""
    if asked.share is not None or asked.of is not None:
        return f"{figure.value:.0%} ({figure.low:.0%} to {figure.high:.0%})"
    interval = f"{figure.value:+.1%} ({figure.low:+.1%} to {figure.high:+.1%})"
    if _reached(figure, "alike"):
        return f"{interval}: alike"
    return f"{interval}: {'undecided' if figure.low <= 0 <= figure.high else 'more' if figure.value > 0 else 'less'}"


def _reached(figure: OverSeeds, demand: float | str) -> bool:
    if demand == "more":
        return figure.low > 0
    if demand == "less":
        return figure.high < 0
    if demand == "no more":
        return figure.high <= ALIKE
    if demand == "alike":
        return figure.low >= -ALIKE and figure.high <= ALIKE
    return figure.low >= float(demand)
