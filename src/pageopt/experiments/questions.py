"""The questions that the experiments were made for, answered in a sentence each."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pageopt.experiments.lifts import OverSeeds
from pageopt.experiments.tables import Side

if TYPE_CHECKING:
    from pageopt.experiments.summary import Results

OURS = "trnn_ips_pf"
_LEAST_SHARE = 0.7


def questions(results: "Results", objective: str) -> list[dict[str, Any]]:
    """[{"question", "answer", "reached", "figures": {name: figure}}]; `reached` is null where nothing is demanded.

    All figures are true values of the metric that pages are made for, and their intervals are over seeds.
    """
    metric = "ctr" if objective == "click" else "ptr"
    ask = _Asked(results, metric)
    return [
        ask.share(),
        ask.above("Is TRNN above XGBoost, page effects on?", "effects", "xgboost_pf"),
        ask.above("Is TRNN above the MLP, page effects on?", "effects", "mlp_ips_pf"),
        ask.alike("Without page effects, do TRNN and the MLP that knows the slot differ?", "plain", "mlp_ips_pf"),
        ask.open("Does TRNN gain by seeing the modules above, page effects on?", "effects", OURS, "hidden_ips_pf"),
        ask.alike("Does it gain by seeing them without page effects?", "plain", "hidden_ips_pf"),
        ask.open("Learned loss weights against equal ones?", "effects", OURS, "equal_pf"),
        ask.open("Personalisation on against off, TRNN?", "effects", OURS, "trnn_ips"),
        ask.open("Personalisation on against off, MLP?", "effects", "mlp_ips_pf", "mlp_ips"),
        ask.open("IPS on against off under a strong slot bias, TRNN?", "steep", OURS, "trnn_pf"),
        ask.open("IPS on against off under a strong slot bias, MLP?", "steep", "mlp_ips_pf", "mlp_pf"),
    ]


class _Asked:
    def __init__(self, results: "Results", metric: str) -> None:
        self._results, self._metric = results, metric
        self._name = f"true {metric.upper()}"

    def share(self) -> dict[str, Any]:
        names = {"TRNN": OURS, "XGBoost": "xgboost_pf", "MLP": "mlp_ips_pf"}
        shares = {title: self._results.share("effects", name, f"true_{self._metric}") for title, name in names.items()}
        ours = shares["TRNN"]
        told = ", ".join(f"{title} {_percent(share)}" for title, share in shares.items() if share)
        told = told or "The oracle is no better than the static page"
        return {
            "question": f"What share of the oracle's uplift over the static page does TRNN capture ({self._name})?",
            "answer": f"{told}. Demanded of TRNN: {_LEAST_SHARE:.0%}.",
            "reached": bool(ours and ours.value >= _LEAST_SHARE),
            "figures": {title: share.as_json() if share else None for title, share in shares.items()},
        }

    def above(self, question: str, variant: str, other: str) -> dict[str, Any]:
        return self._asked(question, variant, OURS, other, lambda found: found.low > 0)

    def alike(self, question: str, variant: str, other: str) -> dict[str, Any]:
        return self._asked(question, variant, OURS, other, lambda found: found.low <= 0 <= found.high)

    def open(self, question: str, variant: str, first: str, second: str) -> dict[str, Any]:
        return self._asked(question, variant, first, second, None)

    def _asked(
        self, question: str, variant: str, first: str, second: str, reached: Callable[[OverSeeds], bool] | None
    ) -> dict[str, Any]:
        sides = Side(model=first), Side(model=second)
        found = {metric: self._results.lift(variant, *sides, f"true_{metric}") for metric in ("ctr", "ptr")}
        judged = found[self._metric]
        return {
            "question": question,
            "answer": "; ".join(
                f"true {metric.upper()} {_signed(value)}, {_said(value)}" for metric, value in found.items() if value
            )
            + ".",
            "reached": None if reached is None else bool(judged and reached(judged)),
            "figures": {metric: value.as_json() if value else None for metric, value in found.items()},
        }


def _percent(found: OverSeeds) -> str:
    return f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%})"


def _signed(found: OverSeeds) -> str:
    return f"{found.value:+.1%} ({found.low:+.1%} to {found.high:+.1%})"


def _said(found: OverSeeds) -> str:
    if found.low <= 0 <= found.high:
        return "the interval contains zero"
    return "more" if found.value > 0 else "less"
