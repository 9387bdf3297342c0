"""The default source: the log of our own shop."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pageopt.config import ShopParams
from pageopt.simulator import Shop
from pageopt.sources.base import SourceReport


class ShopReport(SourceReport, frozen=True, kw_only=True):
    """Policies by their share of the traffic, and the law by which modules act on each other."""

    seed: int
    policies: dict[str, float]
    page_effects: str


@dataclass(frozen=True)
class SimulatorSource:
    """Simulates a shop's log and keeps its truth beside it, in `truth/`."""

    params: ShopParams
    seed: int

    def collect(self, target: Path) -> ShopReport:
        """Write the whole log below `target`."""
        written = Shop(self.params, self.seed).write(target, progress=True)
        return ShopReport(
            source="simulator",
            rows=written.rows,
            first_ts=_iso(written.first_ts),
            last_ts=_iso(written.last_ts),
            seed=self.seed,
            policies={str(policy): share for policy, share in self.params.traffic.items()},
            page_effects=self.params.page_effects,
        )


def _iso(microseconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).isoformat()
