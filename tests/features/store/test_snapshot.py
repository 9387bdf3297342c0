import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from pageopt.errors import ContractError
from pageopt.features.counters import HOUR, CounterLayout, UserState, page_counters
from pageopt.features.store.base import AS_IT_STANDS
from pageopt.features.store.snapshot import UserRow, UserSnapshot, write_snapshot

T0 = 1_700_000_000_000_000
LAYOUT = CounterLayout(
    half_lives_hours=(1, 24, 168),
    kinds=("view", "click", "cart", "purchase"),
    categories=tuple(f"category {i:02}" for i in range(12)),
    lifts={"family": {f"family {i:02}": 0.1 for i in range(20)}},
    lift_half_lives_hours=(168,),
)


def users(count: int = 50) -> list[UserRow]:
    random = np.random.default_rng(5)
    rows = []
    for number in range(count):
        state = UserState(LAYOUT)
        for _ in range(random.integers(1, 12)):
            state.add(
                str(random.choice(LAYOUT.groups[0].kinds)),
                T0 - int(random.integers(0, 300)) * HOUR,
                family=str(random.choice(LAYOUT.groups[-1].keys)),
                category=str(random.choice(LAYOUT.categories)),
            )
        rows.append(UserRow(f"user-{number:03}", state.decayed_to(T0), {"age": number, "tier": "gold"}))
    rows.append(UserRow("user-silent", None, {"age": None, "tier": "new"}))
    return rows


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "users.sqlite"
    assert write_snapshot(path, users(), LAYOUT, reference_us=T0, declared=("age", "tier")) == 51
    return path


def test_what_was_written_is_read(path) -> None:
    snapshot = UserSnapshot(path)
    assert snapshot.layout == LAYOUT
    assert snapshot.reference_us == T0
    assert len(snapshot) == 51
    assert snapshot.user_ids()[0] == "user-000"
    for user in users():
        state = snapshot.get(user.user_id)
        if user.state is None:
            assert state is None
            continue
        for group in LAYOUT.groups:
            assert np.array_equal(state.values[group.name], user.state.values[group.name])
        features = snapshot.features(user.user_id, "category 03", AS_IT_STANDS)
        assert features == page_counters(user.state, "category 03", LAYOUT) | dict(user.declared)


def test_counters_fade_from_the_time_they_stand_at_and_know_no_earlier_one(path) -> None:
    snapshot = UserSnapshot(path)
    as_it_stands = snapshot.features("user-000", "category 03", T0)
    assert snapshot.features("user-000", "category 03", T0 - HOUR) == as_it_stands
    later = snapshot.features("user-000", "category 03", T0 + 24 * HOUR)
    assert as_it_stands["user_click_24h"] > 0
    assert later["user_click_24h"] == pytest.approx(as_it_stands["user_click_24h"] / 2)
    assert later["user_click_1h"] == pytest.approx(as_it_stands["user_click_1h"] / 2**24)
    assert later["age"] == as_it_stands["age"]


@pytest.mark.parametrize("user_id", ["nobody", None, "", "user-'; DROP TABLE users"])
def test_unknown_users_get_defaults(path, user_id) -> None:
    snapshot = UserSnapshot(path)
    assert snapshot.get(user_id) is None
    features = snapshot.features(user_id, "category 03", T0 + HOUR)
    assert list(features) == [*LAYOUT.names, "age", "tier"]
    assert {value for value in features.values() if value is not None} == {0.0}


def test_declared_without_events(path) -> None:
    features = UserSnapshot(path).features("user-silent", None, T0)
    assert (features["age"], features["tier"], features["user_click_1h"]) == (None, "new", 0)


def test_same_users_same_bytes(path, tmp_path) -> None:
    write_snapshot(tmp_path / "again.sqlite", users(), LAYOUT, reference_us=T0, declared=("age", "tier"))
    assert (tmp_path / "again.sqlite").read_bytes() == path.read_bytes()


def test_read_only_file_in_a_read_only_folder(path) -> None:
    path.chmod(0o444)
    os.chmod(path.parent, 0o555)
    try:
        assert UserSnapshot(path).get("user-000") is not None
        assert [file.name for file in path.parent.iterdir()] == ["users.sqlite"]
    finally:
        os.chmod(path.parent, 0o755)


def test_several_threads(path) -> None:
    snapshot = UserSnapshot(path)
    found: list[int] = []

    def read() -> None:
        found.append(sum(snapshot.get(user.user_id) is not None for user in users()))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [50] * 4


def test_a_file_put_in_its_place_is_not_read(path, tmp_path) -> None:
    """A promotion replaces the bundle below a server that goes on with the graph it has loaded."""
    snapshot = UserSnapshot(path)
    known = snapshot.features("user-000", None, T0)
    write_snapshot(tmp_path / "other.sqlite", [], LAYOUT, reference_us=T0, declared=("age", "tier"))
    (tmp_path / "other.sqlite").replace(path)
    read: list[dict] = []
    thread = threading.Thread(target=lambda: read.append(snapshot.features("user-000", None, T0)))
    thread.start()
    thread.join()
    assert read == [known]
    assert UserSnapshot(path).get("user-000") is None


def test_a_missing_file_says_so(tmp_path) -> None:
    with pytest.raises(ContractError, match=r"none\.sqlite is missing"):
        UserSnapshot(tmp_path / "none.sqlite")


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, b"[]"])
def test_a_broken_file_says_so(tmp_path, content) -> None:
    (tmp_path / "bad.sqlite").write_bytes(content)
    with pytest.raises(ContractError, match=r"bad\.sqlite cannot be read"):
        UserSnapshot(tmp_path / "bad.sqlite")


def test_import_is_light() -> None:
    heavy = "{'torch', 'pandas', 'pyarrow', 'ibis', 'duckdb', 'pydantic', 'scipy', 'sklearn'}"
    code = f"import sys, pageopt.features.store.snapshot; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
