from datetime import UTC, datetime, timedelta

import pytest

from pageopt.config import DataGate
from pageopt.release.gates.data import judge

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def verdict(**changes):
    facts = {
        "bad_share": 0.001,
        "max_bad_share": 0.01,
        "pages": 10_000,
        "clicks": 900,
        "last_page": NOW - timedelta(days=3),
        "last_event": NOW - timedelta(days=2),
        "now": NOW,
        "limits": DataGate(min_pages=5000, min_clicks=500, max_age_days=7, max_event_lag_hours=24),
    }
    return judge(**(facts | changes))


def test_a_good_log_passes():
    assert verdict().passed
    assert [check.name for check in verdict().checks] == [
        "bad rows",
        "pages",
        "clicks",
        "age in days",
        "event lag in hours",
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"bad_share": 0.02}, "2.00% of the rows are in quarantine, 1.00% allowed"),
        ({"pages": 10}, "10 pages, 5,000 needed"),
        ({"clicks": 499}, "499 clicks, 500 needed"),
        (
            {"last_event": NOW - timedelta(days=8), "last_page": NOW - timedelta(days=7, hours=12)},
            "the log ends 7.5 days ago, 7 allowed",
        ),
        (
            {"last_event": NOW - timedelta(days=5)},
            "the last event comes 48.0 hours before the last page, 24 hours allowed",
        ),
    ],
)
def test_each_fault_fails_with_its_reason(change, why):
    found = verdict(**change)
    assert not found.passed
    assert found.why == why


def test_an_old_log_is_shown_but_not_judged_without_a_limit():
    limits = DataGate(min_pages=1, min_clicks=1, max_age_days=None, max_event_lag_hours=None)
    found = verdict(last_page=NOW - timedelta(days=900), last_event=NOW - timedelta(days=950), limits=limits)
    assert found.passed
    assert [check.why for check in found.checks if "not judged" in check.why] == [
        "the log ends 900.0 days ago; no limit set, not judged",
        "the last event comes 1,200.0 hours before the last page; no limit set, not judged",
    ]
