"""Everything that the cells and runs of a project wrote, by seed: the numbers that report and questions are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from msgspec import UNSET

from pageopt.evaluation.policy_value import Metric
from pageopt.studies.experiments import catalog, cell, exploration, plans
from pageopt.studies.experiments.figures import Cell
from pageopt.studies.experiments.lifts import OverSeeds, lift, over_seeds, ratio
from pageopt.studies.experiments.tables import BEAM, RANKING, TABLES, Asked, Gain, Side
from pageopt.studies.experiments.values import Visits, read_values


@dataclass
class Results:
    """Everything the cells of a project wrote, for the `seeds` in its params, by group."""

    root: Path
    seeds: Mapping[str, tuple[int, ...]]
    confidence: float
    _cells: dict[tuple[str, str, int], Cell] = field(default_factory=dict)

    @cached_property
    def titles(self) -> dict[str, str]:
        """What tables call each model."""
        return {name: model.title for name, model in catalog.models(self.root).items()}

    @cached_property
    def shops(self) -> dict[str, plans.ShopPlan]:
        """The plans of all shops that have seeds."""
        return {name: plan for name, plan in plans.shops(self.root).items() if self.seeds.get(plan.seeds)}

    def seeds_of(self, shop: str) -> tuple[int, ...]:
        """The seeds of a shop."""
        return self.seeds[self.shops[shop].seeds]

    def cell(self, shop: str, name: str, seed: int) -> Cell:
        """What one model reached. Raises EvaluationError where the cell was not run."""
        key = (shop, name, seed)
        if key not in self._cells:
            self._cells[key] = Cell.read(cell.folder_of(self.root, shop, seed) / f"{name}.json")
        return self._cells[key]

    def cells(self, shop: str) -> list[Cell]:
        """Every cell of a shop, by model."""
        return [self.cell(shop, name, seed) for name in self.shops[shop].models for seed in self.seeds_of(shop)]

    def visits(self, shop: str, side: Side, seed: int) -> Visits:
        """The pages of one side of a comparison."""
        if side.policy is not None:
            return read_values(exploration.folder_of(self.root, seed) / exploration.FILE)
        return read_values(cell.folder_of(self.root, shop, seed) / f"{side.model}.parquet")

    def numbers(self, shop: str, side: Side, metric: str) -> list[float] | None:
        """A metric by seed; None where it is not defined for this side or for one of the seeds."""
        numbers = []
        for seed in self.seeds[TABLES] if side.policy else self.seeds_of(shop):
            number = self._number(shop, side, seed, metric)
            if number is None:
                return None
            numbers.append(float(number))
        return numbers

    def _number(self, shop: str, side: Side, seed: int, metric: str) -> float | None:
        if side.policy is not None:
            values = self.visits(shop, side, seed).values[side.policy]
            return {"true_ctr": values.ctr.mean(), "true_ptr": values.ptr.mean()}.get(metric)
        of = self.cell(shop, str(side.model), seed)
        if metric in RANKING:
            figure = None if of.ranking is UNSET else of.ranking.figure(metric)
            return figure.value if figure else None
        return of.searches[side.search].number(metric)

    def lift(self, shop: str, first: Side, second: Side, metric: str) -> OverSeeds | None:
        """The relative change of a metric, paired by seed; None where it is not defined."""
        numbers = [self.numbers(shop, side, metric) for side in (first, second)]
        if numbers[0] is None or numbers[1] is None:
            return None
        return lift(numbers[0], numbers[1], self.confidence)

    def share(self, shop: str, name: str) -> OverSeeds | None:
        """Share of the knowable uplift over the static page in what pages are made for; None where none was taken."""
        shares = [self.cell(shop, name, seed).share for seed in self.seeds_of(shop)]
        known = [each.value for each in shares if each is not UNSET]
        return over_seeds(known, self.confidence) if len(known) == len(shares) else None

    def asked(self, shop: str, asked: Asked, metric: Metric) -> OverSeeds | None:
        """What is asked of a shop, in true values; None where there is nothing to take a share of."""
        if asked.share is not None:
            return self.share(shop, asked.share)
        if asked.gain is None:
            return None
        if asked.of is not None:
            return ratio(self._gains(shop, asked.gain, metric), self._gains(shop, asked.of, metric), self.confidence)
        sides = (Side(model=asked.gain.model), Side(model=asked.gain.against))
        return self.lift(shop, *sides, f"true_{metric}")

    def _gains(self, shop: str, gain: Gain, metric: Metric) -> list[float]:
        def earned(name: str, seed: int) -> float:
            return float(getattr(self.cell(shop, name, seed).searches[BEAM], f"true_{metric}"))

        return [earned(gain.model, seed) - earned(gain.against, seed) for seed in self.seeds_of(shop)]

    def title(self, side: Side) -> str:
        """What a table calls a side."""
        return side.title or (self.titles[side.model] if side.model else str(side.policy))
