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

    def first_at(share: float, after: int) -> int | None:
        """The time of the page at this share of pages, or the first later than `after` if that is not."""
        place = min(round(count * share), count - 1)
        later = pages.filter((pages.page >= place) & (pages.us > after))
        us = later.us.min().execute()
        return int(us) if us == us and us is not None else None

    start = pages.us.min().execute()
    valid_us = first_at(shares.train, int(start)) if count else None
    test_us = None if valid_us is None else first_at(shares.train + shares.valid, valid_us)
    if valid_us is None or test_us is None:
        raise ContractError(
            f"{count} pages cannot be split by time into shares {shares.train}, {shares.valid} and {shares.test}: one "
            "would be empty. Collect more pages over a longer time, or change prepare.split in params.yaml."
        )
    return SplitTimes(valid_us, test_us)
