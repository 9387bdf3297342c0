from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pageopt.errors import EvaluationError
from pageopt.simulator import Shop, truth
from pageopt.simulator.model import Intent
from pageopt.simulator.tables import SHOP_KEY


@pytest.fixture(scope="module")
def raw(make_shop, tmp_path_factory) -> tuple[Shop, Path]:
    shop, folder = make_shop(pages=900), tmp_path_factory.mktemp("raw")
    shop.write(folder)
    return shop, folder


def test_truth_of_the_log_is_that_of_the_shop(raw) -> None:
    shop, folder = raw
    static = shop.static(np.arange(16))
    contexts = list(shop.contexts(900))
    modules = np.concatenate([static(part) for part in contexts])
    shuffled = np.random.default_rng(0).permutation(900)
    page_ids = np.array([f"p{number:09d}" for number in shuffled], dtype=object)
    click, purchase = truth.expected(folder, page_ids, modules[shuffled])
    exact = [shop.model.expected(Intent.of(part), static(part)) for part in contexts]
    np.testing.assert_allclose(click, np.concatenate([part[0] for part in exact])[shuffled], rtol=1e-6)
    np.testing.assert_allclose(purchase, np.concatenate([part[1] for part in exact])[shuffled], rtol=1e-6)
    assert click.sum() / 900 == pytest.approx(shop.true_value(static, 900).ctr)


def test_the_truth_of_a_log_carries_its_slot_bias(make_shop) -> None:
    values = []
    for bias in (1.0, 3.0):
        shop = make_shop(slot_bias=bias)
        static = shop.static(np.arange(16))
        log = shop.logs(static, 300)
        modules = np.concatenate([static(part) for part in shop.contexts(300)])
        click, _ = truth.expected(log.truth, log.pages["page_id"].to_numpy(), modules)
        assert click.sum() / 300 == pytest.approx(shop.true_value(static).ctr)
        values.append(click)
    np.testing.assert_array_equal(values[0][:, 0], values[1][:, 0])
    assert (values[1][:, 1:] < values[0][:, 1:]).all()


def test_module_ids_and_empty_slots(raw) -> None:
    _, folder = raw
    page_ids = np.array(["p000000005", "p000000003"])
    by_index = truth.expected(folder, page_ids, np.array([[3, -1, 7], [1, 2, -1]]))
    for empty in (None, np.nan):
        named = np.array([["m0003", empty, "m0007"], ["m0001", "m0002", empty]], dtype=object)
        assert np.array_equal(truth.expected(folder, page_ids, named), by_index)
    assert by_index[0][0, 1] == by_index[1][1, 2] == 0


def test_a_table_serves_as_well_as_a_folder(shop) -> None:
    log = shop.logs("random", 200)
    click, purchase = truth.expected(log.truth, np.array(["p000000007"]), np.array([[0, 1]]))
    assert click.shape == purchase.shape == (1, 2)
    assert (purchase < click).all()


@pytest.mark.parametrize(
    ("page", "modules", "message"),
    [
        ("p999", [[0]], "not in the truth"),
        ("p000000000", [["m9999"]], "m9999"),
        ("p000000000", [[16]], "-1..15"),
        ("p000000000", [[0, 1, 2, 3, 4]], "at most 4 slots"),
        ("p000000000", [[0], [1]], "1 pages"),
    ],
)
def test_what_the_shop_does_not_have_is_named(raw, page: str, modules: list, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        truth.expected(raw[1], np.array([page]), np.array(modules))


def test_logs_without_truth_say_so(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="only simulated logs"):
        truth.expected(tmp_path, np.array(["p"]), np.array([[0]]))
    with pytest.raises(EvaluationError, match="not a truth table"):
        truth.expected(pa.table({"page_id": ["p"]}), np.array(["p"]), np.array([[0]]))


def test_a_shop_of_another_version_says_what_to_do(shop) -> None:
    table = shop.logs("random", 20).truth
    described = table.schema.metadata[SHOP_KEY].replace(b'"page_effects": "content"', b'"page_effects": true')
    old = table.replace_schema_metadata({SHOP_KEY: described})
    with pytest.raises(EvaluationError, match=r"Collect the log again: dvc repro"):
        truth.expected(old, np.array(old["page_id"].to_pylist()[:1]), np.array([[0, 1]]))
