"""Data gate: does the log keep the contract, is there enough of it, and is it fresh?"""

from datetime import datetime

from pageopt.config import DataGate
from pageopt.release.gates.verdict import Check, Verdict


def judge(
    *,
    bad_share: float,
    max_bad_share: float,
    pages: int,
    clicks: int,
    last_page: datetime,
    last_event: datetime,
    now: datetime,
    limits: DataGate,
) -> Verdict:
    """The verdict on a checked log.

    bad_share: quarantined rows as a share of all. pages, clicks: in all splits. last_page, last_event, now: with time
    zone; events may come after the last page (they lag), pages without any later event mean that events stopped.
    """
    age = (now - max(last_page, last_event)).total_seconds() / 86400
    lag = (last_page - last_event).total_seconds() / 3600
    reach = (
        f"the last event comes {lag:,.1f} hours before the last page"
        if lag > 0
        else "events reach to the end of the log"
    )
    return Verdict.of(
        "data",
        [
            Check.at_most(
                "bad rows", bad_share, max_bad_share, f"{bad_share:.2%} of the rows are in quarantine", "{:.2%} allowed"
            ),
            *(
                Check(name, count >= least, count, least, f"{count:,} {name}, {least:,} needed")
                for name, count, least in (("pages", pages, limits.min_pages), ("clicks", clicks, limits.min_clicks))
            ),
            Check.at_most("age in days", age, limits.max_age_days, f"the log ends {age:,.1f} days ago"),
            Check.at_most("event lag in hours", lag, limits.max_event_lag_hours, reach, "{:g} hours allowed"),
        ],
    )
