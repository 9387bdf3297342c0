import time

import pytest

from pageopt.errors import ConfigError
from pageopt.serving.clock import clock


def test_users_are_read_as_of_each_request_unless_a_time_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAGEOPT_AT", raising=False)
    assert abs(clock()() / 1e6 - time.time()) < 5
    monkeypatch.setenv("PAGEOPT_AT", "1700000000000000")
    assert clock()() == 1_700_000_000_000_000
    monkeypatch.setenv("PAGEOPT_AT", "yesterday")
    with pytest.raises(ConfigError, match="PAGEOPT_AT is 'yesterday'"):
        clock()
