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
    return Verdict.of(
        "data",
        [
            Check(
                "bad rows",
                bad_share <= max_bad_share,
                bad_share,
                max_bad_share,
                f"{bad_share:.2%} of the rows are in quarantine, {max_bad_share:.2%} allowed",
            ),
            Check(
                "pages",
                pages >= limits.min_pages,
                pages,
                limits.min_pages,
                f"{pages:,} pages, {limits.min_pages:,} needed",
            ),
            Check(
                "clicks",
                clicks >= limits.min_clicks,
                clicks,
                limits.min_clicks,
                f"{clicks:,} clicks, {limits.min_clicks:,} needed",
            ),
            _age(age, limits.max_age_days),
            _lag(lag, limits.max_event_lag_hours),
        ],
    )


def _age(days: float, limit: float | None) -> Check:
    shown = f"the log ends {days:,.1f} days ago"
    if limit is None:
        return Check("age in days", True, days, None, f"{shown}; no limit set, not judged")
    return Check("age in days", days <= limit, days, limit, f"{shown}, {limit:g} allowed")


def _lag(hours: float, limit: float | None) -> Check:
    shown = (
        f"the last event comes {hours:,.1f} hours before the last page"
        if hours > 0
        else "events reach to the end of the log"
    )
    if limit is None:
        return Check("event lag in hours", True, hours, None, f"{shown}; no limit set, not judged")
    return Check("event lag in hours", hours <= limit, hours, limit, f"{shown}, {limit:g} hours allowed")
