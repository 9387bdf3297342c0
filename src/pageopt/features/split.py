"""Train, valid and test by time: what a model is judged on comes after everything it learned from."""

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from pageopt.config import SplitParams
from pageopt.errors import ContractError

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class SplitTimes:
    """First microsecond of valid and of test; train is all before."""

    valid_us: int
    test_us: int

    def name(self, us: ir.Column) -> ir.StringColumn:
        """The split of a page shown at `us`."""
        return ibis.cases((us < self.valid_us, "train"), (us < self.test_us, "valid"), else_="test")


def split_times(pages: ir.Table, shares: SplitParams) -> SplitTimes:
    """Times at the quantiles of pages that the shares ask for; pages of one time stay together, in the later split.

    Args:
        pages: page (int64, 0.. in the order of time) and us (int64 microseconds).
        shares: the share of each split.

    Raises:
        ContractError: a split would be empty.
    """
    count = int(pages.count().execute())
    places = [round(count * shares.train), round(count * (shares.train + shares.valid))]
    found = pages.filter(pages.page.isin(places)).select("page", "us").to_pyarrow().to_pylist()
    us = {row["page"]: row["us"] for row in found}
    first = int(pages.us.min().execute()) if count else 0
    if places[0] not in us or places[1] not in us or not first < us[places[0]] < us[places[1]]:
        raise ContractError(
            f"{count} pages cannot be split by time into shares {shares.train}, {shares.valid} and {shares.test}: one "
            "would be empty. Collect more pages over a longer time, or change prepare.split in params.yaml."
        )
    return SplitTimes(us[places[0]], us[places[1]])
