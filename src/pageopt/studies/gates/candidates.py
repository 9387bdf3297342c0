"""Candidates whose true worth is known, and what the quality gate must make of them.

A candidate shows one of two pages, drawn visit by visit, so that its true clicks lie between those of the two exactly
where they should.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pageopt.errors import EvaluationError
from pageopt.studies.coverage.judged_shop import ALIKE_CONTENT, LEARNED, STATIC


@dataclass(frozen=True)
class Case:
    """A candidate and whom it is judged against.

    Attributes:
        name: in words.
        pages: the two pages that it shows, of the policies of `JudgedShop`.
        over: what `change` is relative to; where it is not the static page, it is the champion.
        change: true change of clicks a page over it.
        least, most: between which shares of logs it must be promoted.
    """

    name: str
    pages: tuple[str, str]
    over: str
    change: float
    least: float
    most: float

    def share(self, true_ctr: Mapping[str, float]) -> float:
        """How often it shows its second page. Raises EvaluationError where no share makes the change."""
        first, second = (true_ctr[page] for page in self.pages)
        share = ((1 + self.change) * true_ctr[self.over] - first) / (second - first)
        if not 0 <= share <= 1:
            raise EvaluationError(
                f"No mixture of {self.pages[0]} ({first:.3f} clicks a page) and {self.pages[1]} ({second:.3f}) changes "
                f"{self.over} ({true_ctr[self.over]:.3f}) by {self.change:+.0%}. Choose another shop or change."
            )
        return float(share)

    def modules(self, targets: Mapping[str, np.ndarray], share: float, rng: np.random.Generator) -> np.ndarray:
        """What it shows, `[pages, slots]`."""
        first, second = (targets[page] for page in self.pages)
        return np.where(rng.random((len(first), 1)) < share, second, first)


CASES = (
    Case("alike modules, 12 % worse than static", (STATIC, ALIKE_CONTENT), STATIC, -0.12, 0.0, 0.05),
    Case("20 % better than static", (STATIC, LEARNED), STATIC, 0.20, 0.90, 1.0),
    Case("as good as static", (ALIKE_CONTENT, LEARNED), STATIC, 0.0, 0.0, 0.05),
    Case("10 % behind its champion", (STATIC, LEARNED), LEARNED, -0.10, 0.0, 0.05),
)
"""The last two stand at the gate's limits, so that a one-sided test at 2.5 % lets so many pass."""
