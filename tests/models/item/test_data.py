from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pageopt.errors import TrainingError
from pageopt.features.encoder import EncodedPages
from pageopt.features.slot_bias import SlotBias
from pageopt.models.item.data import page_tensors

BIAS = SlotBias(
    slots=3,
    platforms=["app"],
    click={"all": [1.0, 0.5, 0.25], "app": [1.0, 0.8, 0.01]},
    purchase={"all": [1.0, 0.2, 0.1], "app": [1.0, 0.4, 0.2]},
    views={},
)


def _pages(**changes):
    module = np.array([[3, 1, -1], [0, -1, 2]])
    zeros = np.zeros((2, 3), dtype=np.float32)
    values = {
        "encoded": EncodedPages(np.ones((2, 1), int), np.zeros((2, 2), np.float32), np.zeros((2, 1, 4), int)),
        "platform": np.array(["app", None], dtype=object),
        "module": module,
        "click": (module == 3).astype(np.float32),
        "intent": zeros,
        "purchase": zeros,
        "attributed": zeros + np.float32(0.25),
        "weight": np.array([1.0, 2.0], dtype=np.float32),
    }

    class Pages(SimpleNamespace):
        def __len__(self):
            return len(self.module)

    return Pages(**values | changes)


def test_slots_weigh_page_times_examination_with_mean_one():
    tensors = page_tensors(_pages(), ("click", "attributed"), BIAS, 10)
    click = np.array([[1, 1.25, 0], [2, 0, 8]])  # weight of the page / θ, 0 where empty
    attributed = np.array([[1, 2.5, 0], [2, 0, 20]])
    np.testing.assert_allclose(tensors.weights["click"], click / click.sum() * 4, rtol=1e-6)
    np.testing.assert_allclose(tensors.weights["attributed"], attributed / attributed.sum() * 4, rtol=1e-6)
    assert tensors.rates()["click"] == pytest.approx(1 / click.sum())
    assert tensors.rates()["attributed"] == pytest.approx(0.25)
    assert tensors.shown() == 2


def test_without_slot_bias_only_pages_weigh():
    tensors = page_tensors(_pages(), ("click",), None, 10)
    np.testing.assert_allclose(tensors.weights["click"], np.array([[1, 1, 0], [2, 0, 2]]) / 6 * 4, rtol=1e-6)


def test_digest_sees_every_value():
    one = page_tensors(_pages(), ("click",), None, 10)
    assert one.digest() == page_tensors(_pages(), ("click",), None, 10).digest()
    changed = page_tensors(_pages(), ("click",), None, 10)
    changed.labels["click"][1, 2] = 1
    assert one.digest() != changed.digest()
    assert one.digest() != one.take(torch.tensor([1, 0])).digest()


def test_pages_without_modules_are_refused():
    with pytest.raises(TrainingError, match="nothing to learn from"):
        page_tensors(_pages(module=np.full((2, 3), -1)), ("click",), None, 10)
