import ibis
import numpy as np
import pyarrow as pa
import pytest

from pageopt.config import SplitParams
from pageopt.errors import ContractError
from pageopt.features.batch.split import SPLITS, split_times

SHARES = SplitParams(train=0.7, valid=0.1, test=0.2)


def split(us: np.ndarray, shares: SplitParams = SHARES) -> np.ndarray:
    us = np.sort(us)
    pages = ibis.memtable(pa.table({"page": np.arange(len(us)), "us": us}))
    times = split_times(pages, shares)
    named = pages.mutate(split=times.name(pages.us)).order_by("page")
    return named.to_pyarrow()["split"].to_numpy(zero_copy_only=False)


def test_shares_in_the_order_of_time() -> None:
    names = split(np.random.default_rng(0).integers(0, 10**15, 1000))
    assert [int((names == name).sum()) for name in SPLITS] == [700, 100, 200]
    assert names.tolist() == sorted(names.tolist(), key=SPLITS.index)


def test_pages_of_one_time_stay_together() -> None:
    us = np.repeat(np.arange(50), 20)
    names = split(us)
    for time in range(50):
        assert len(set(names[us == time])) == 1
    assert [int((names == name).sum()) for name in SPLITS] == [700, 100, 200]


@pytest.mark.parametrize("counts", [[650, 200, 150], [900, 50, 50], [100, 850, 50]])
def test_few_times_are_shared_out(counts) -> None:
    """Logs by the day, say: each split takes at least one time."""
    names = split(np.repeat([0, 1, 2], counts))
    assert [int((names == name).sum()) for name in SPLITS] == counts


@pytest.mark.parametrize("us", [[], [1], [1, 2], [5] * 100, [1] * 80 + [2] * 20, [0] * 10 + [1] * 10 + [2] * 980])
def test_an_empty_split_is_an_error(us) -> None:
    with pytest.raises(ContractError, match="would be empty"):
        split(np.array(us, dtype=np.int64))
