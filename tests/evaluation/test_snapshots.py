import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pageopt.errors import EvaluationError
from pageopt.evaluation.snapshots import logged_as, read_snapshots


def _write(folder, *rows):
    folder.mkdir()
    names = ("policy", "slot", "module_id", "probability")
    pq.write_table(pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows]), folder / "part.parquet")


def test_probabilities_by_policy_slot_and_module(tmp_path):
    _write(tmp_path / "s", ("bts", 1, "b", 0.25), ("bts", 1, "a", 0.75), ("bts", 2, "b", 1.0))
    found = read_snapshots(tmp_path / "s", ["a", "b"], slots=3)
    np.testing.assert_array_equal(found["bts"], [[0.75, 0.25], [0, 1], [0, 0]])
    assert read_snapshots(tmp_path / "nowhere", ["a"], slots=1) == {}
    assert logged_as("bts") == "thompson"
    assert logged_as("random") == "random"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("bts", 1, "z", 0.5), "show module 'z' in slot 1"),
        (("bts", 9, "a", 0.5), "in slot 9"),
        (("bts", 1, "a", 1.5), "must add up to 1"),
        (("bts", 1, "a", -0.5), "must add up to 1"),
    ],
)
def test_errors(tmp_path, row, message):
    _write(tmp_path / "s", row)
    with pytest.raises(EvaluationError, match=message):
        read_snapshots(tmp_path / "s", ["a", "b"], slots=3)
