from collections.abc import Callable

import pytest

from pageopt.config import ShopParams
from pageopt.simulator import Shop

SMALL = {
    "pages": 6000,
    "days": 3,
    "users": 400,
    "items": 300,
    "categories": 4,
    "modules": 16,
    "families": 5,
    "slots": 4,
    "available": 9,
    "traffic": {"random": 0.4, "thompson": 0.4, "production": 0.2},
    "page_effects": "content",
    "thompson_diversity": "swap",
    "propensity_samples": 2000,
}


@pytest.fixture(scope="session")
def make_shop() -> Callable[..., Shop]:
    def make(seed: int = 1, **changes: object) -> Shop:
        return Shop(ShopParams.model_validate(SMALL | changes), seed)

    return make


@pytest.fixture(scope="session")
def shop(make_shop: Callable[..., Shop]) -> Shop:
    return make_shop()
