import numpy as np

from pageopt.config import LatencyGate
from pageopt.release.gates.latency import Times, judge, judge_http, largest
from pageopt.release.gates.load import LoadResult

LIMITS = LatencyGate(p99_ms=20, http_p99_ms=150, ratio_to_champion=1.5, calls=10, http_seconds=5, http_concurrency=4)


def test_within_the_limits():
    found = judge(Times(np.full(100, 1.0), np.full(100, 0.9), 60), LIMITS)
    assert found.passed
    assert found.why == "a page of 60 candidates takes 1.00 ms (p99 1.00 ms, 20 allowed)"


def test_a_slow_tail_fails_though_the_median_is_good():
    times = np.r_[np.full(95, 1.0), np.full(5, 50.0)]
    found = judge(Times(times, None, 60), LIMITS)
    assert not found.passed
    assert found.value == 50.0
    assert found.checks[1].why == "no champion"


def test_slower_than_the_champion_fails():
    found = judge(Times(np.full(100, 3.0), np.full(100, 1.0), 60), LIMITS)
    assert not found.passed
    assert (found.value, found.limit) == (3.0, 1.5)


def test_http():
    assert judge_http(LoadResult(1000, 0, 2.0, 9.0, {200: 1000}), LIMITS).passed
    slow = judge_http(LoadResult(1000, 0, 2.0, 900.0, {200: 1000}), LIMITS)
    assert (slow.passed, slow.value, slow.limit) == (False, 900.0, 150.0)
    broken = judge_http(LoadResult(1000, 1, 2.0, 9.0, {200: 998, 500: 2}), LIMITS)
    assert broken.why == "3 of 1001 requests failed"
    dead = judge_http(LoadResult(0, 40, float("nan"), float("nan"), {}), LIMITS)
    assert not dead.passed
    assert dead.value is None


def test_the_pages_with_most_candidates_are_measured():
    candidates = np.array([[1, 2, -1], [3, 4, 5], [1, -1, -1], [2, 0, 1]])
    fields, rows = largest({"platform": np.array(["a", "b", "c", "d"], dtype=object)}, candidates)
    assert fields == [{"platform": "b"}, {"platform": "d"}]
    assert rows.tolist() == [[3, 4, 5], [2, 0, 1]]
