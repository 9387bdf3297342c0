import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pageopt.models.common.losses import LossWeights, masked_cross_entropy

probabilities = st.floats(0.01, 0.99)


@given(st.lists(st.tuples(probabilities, st.floats(0, 1), st.floats(0, 5)), min_size=1, max_size=8))
def test_cross_entropy_is_the_formula(slots):
    p, y, w = (np.array(column) for column in zip(*slots, strict=True))
    expected = -(w * (y * np.log(p) + (1 - y) * np.log(1 - p))).sum()
    logit = torch.tensor(np.log(p) - np.log(1 - p))[None]
    found = masked_cross_entropy(logit, torch.tensor(y)[None], torch.tensor(w)[None])
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_masked_slots_have_no_gradient():
    logit = torch.tensor([[50.0, -3.0]], requires_grad=True)
    masked_cross_entropy(logit, torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 1.0]])).backward()
    assert logit.grad is not None
    assert logit.grad[0, 0] == 0
    assert logit.grad[0, 1] != 0


def test_total_is_that_of_kendall_and_starts_where_it_settles():
    constant = {"click": 0.3, "purchase": 0.02}
    weights = LossWeights(constant, learned=True)
    losses = torch.tensor([0.3, 0.02])
    total = weights(losses)
    s = [math.log(2 * value) for value in constant.values()]
    assert total.item() == pytest.approx(sum(math.exp(-a) * b + a / 2 for a, b in zip(s, losses.tolist(), strict=True)))
    total.backward()
    assert weights.s.grad is not None
    np.testing.assert_allclose(weights.s.grad, 0, atol=1e-6)
    assert weights.factors()["purchase"] == pytest.approx(25)


def test_equal_weights_add_up_and_do_not_learn():
    weights = LossWeights({"click": 0.3, "purchase": 0.02}, learned=False)
    assert weights(torch.tensor([0.3, 0.02])).item() == pytest.approx(0.32)
    assert not weights.s.requires_grad
