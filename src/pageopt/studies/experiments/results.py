"""Everything that the cells and runs of a project wrote, by seed: the numbers that report and questions are made of."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pageopt.studies.experiments import catalog, cell, exploration
from pageopt.studies.experiments.built import VARIANTS
from pageopt.studies.experiments.figures import Cell
from pageopt.studies.experiments.lifts import OverSeeds, lift, over_seeds
from pageopt.studies.experiments.tables import BEAM, RANKING, Side
from pageopt.studies.experiments.values import Visits, read_values


@dataclass
class Results:
    """Everything the cells of a project wrote, for the seeds in its params."""

    root: Path
    seeds: tuple[int, ...]
    confidence: float
    _cells: dict[tuple[str, str, int], Cell] = field(default_factory=dict)

    @cached_property
    def titles(self) -> dict[str, str]:
        """What tables call each model."""
        return {name: model.title for name, model in catalog.models(self.root).items()}

    def cell(self, variant: str, name: str, seed: int) -> Cell:
        """cell.json. Raises EvaluationError where the cell was not run."""
        key = (variant, name, seed)
        if key not in self._cells:
            self._cells[key] = Cell.read(cell.folder_of(self.root, *key) / cell.FILE)
        return self._cells[key]

    def cells(self) -> list[Cell]:
        """Every cell of the plan and the seeds that was run, by variant and model."""
        names, planned = [*catalog.models(self.root)], catalog.planned(self.root)
        return [
            self.cell(variant, name, seed)
            for variant in VARIANTS
            for name in names
            for seed in self.seeds
            if (variant, name) in planned and (cell.folder_of(self.root, variant, name, seed) / cell.FILE).is_file()
        ]

    def visits(self, variant: str, side: Side, seed: int) -> Visits:
        """The pages of one side of a comparison."""
        if side.policy is not None:
            return read_values(exploration.folder_of(self.root, seed) / exploration.FILE)
        return read_values(cell.folder_of(self.root, variant, str(side.model), seed) / cell.PAGES)

    def numbers(self, variant: str, side: Side, metric: str) -> list[float] | None:
        """A metric by seed; None where it is not defined for this side or for one of the seeds."""
        numbers = []
        for seed in self.seeds:
            number = self._number(variant, side, seed, metric)
            if number is None:
                return None
            numbers.append(float(number))
        return numbers

    def _number(self, variant: str, side: Side, seed: int, metric: str) -> float | None:
        if side.policy is not None:
            values = self.visits(variant, side, seed).values[side.policy]
            return {"true_ctr": values.ctr.mean(), "true_ptr": values.ptr.mean()}.get(metric)
        of = self.cell(variant, str(side.model), seed)
        if metric in RANKING:
            figure = of.ranking.figure(metric)
            return figure.value if figure else None
        return of.searches[side.search].number(metric)

    def lift(self, variant: str, first: Side, second: Side, metric: str) -> OverSeeds | None:
        """The relative change of a metric, paired by seed; None where it is not defined."""
        numbers = [self.numbers(variant, side, metric) for side in (first, second)]
        if numbers[0] is None or numbers[1] is None:
            return None
        return lift(numbers[0], numbers[1], self.confidence)

    def share(self, variant: str, name: str, metric: str) -> OverSeeds | None:
        """Share of the oracle's uplift over the static page that a model's true CTR or PTR has."""
        shares = []
        for seed in self.seeds:
            mine, static = (self.cell(variant, each, seed) for each in (name, "static"))
            most = mine.oracle.click["ctr"] if metric == "true_ctr" else mine.oracle.purchase["ptr"]
            own, least = (getattr(each.searches[BEAM], metric) for each in (mine, static))
            if not most > least:
                return None
            shares.append((own - least) / (most - least))
        return over_seeds(shares, self.confidence)

    def title(self, side: Side) -> str:
        """What a table calls a side."""
        return side.title or (self.titles[side.model] if side.model else str(side.policy))
