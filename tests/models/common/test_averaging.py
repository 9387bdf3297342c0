import numpy as np
import pytest
import torch

from pageopt.models.common.averaging import Average
from pageopt.studies.bench import inputs
from pageopt.studies.bench.inputs import Size

SIZE = Size(modules=6, families=3, slots=2, width=8, embedding=4, cardinalities=(3,), numerics=1, texts=0)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_the_average_follows_the_steps(decay: float) -> None:
    model = inputs.model(SIZE, seed=1)
    average = Average(model, decay)
    random = np.random.default_rng(0)
    seen = []
    for _ in range(30):
        with torch.no_grad():
            model.heads.weight += torch.from_numpy(random.normal(size=model.heads.weight.shape).astype(np.float32))
        average.update_parameters(model)
        seen.append(model.heads.weight.detach().double().numpy().copy())
    expected = seen[0]
    for step, now in enumerate(seen[1:], start=1):
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * now
    np.testing.assert_allclose(average.model.heads.weight.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    if decay == 0:
        assert torch.equal(average.model.heads.weight, model.heads.weight)
    assert torch.equal(average.model.family_of, model.family_of)


def test_the_average_of_many_steps_is_nearer_to_the_mean_than_the_last_step() -> None:
    model = inputs.model(SIZE, seed=1)
    mean = model.heads.weight.detach().clone()
    average = Average(model, 0.99)
    torch.manual_seed(0)
    for _ in range(500):
        with torch.no_grad():
            model.heads.weight.copy_(mean + torch.randn_like(mean))
        average.update_parameters(model)
    last, averaged_error = ((each - mean).square().mean() for each in (model.heads.weight, average.model.heads.weight))
    assert averaged_error < last / 20
