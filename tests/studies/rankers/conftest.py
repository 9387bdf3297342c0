"""A tiny shop of random pages: what is clicked depends on category, slot, user counter and module."""

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest

from pageopt.features.encoder import Encoder
from pageopt.features.pages import Pages
from pageopt.problems.fields import Field

FAMILIES, MODULES, SLOTS = ("a", "b", "c"), 12, 4
BUYS = 0.3  # P(purchase | click)
FIELDS = (
    Field("platform", "categorical", "page"),
    Field("hero_category", "categorical", "item"),
    Field("hero_price", "numeric", "item"),
    Field("user_click_24h", "numeric", "counter"),
    Field("user_top_category", "categorical", "counter"),
    Field("segment", "categorical", "user"),
    Field("about", "text", "user"),
)
CATEGORIES = ("shoes", "toys")


def _columns(count: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "platform": random.choice(["app", "web"], count).astype(object),
        "hero_category": random.choice(CATEGORIES, count).astype(object),
        "hero_price": random.random(count) * 100,
        "user_click_24h": random.random(count) * 5,
        "user_top_category": random.choice(np.array([*CATEGORIES, None], dtype=object), count),
        "segment": random.choice(["new", "old"], count).astype(object),
        "about": random.choice(["likes shoes", "likes toys"], count).astype(object),
    }


def _chance(columns: Mapping[str, np.ndarray], module: np.ndarray) -> np.ndarray:
    """P(click) [P, K]: the first half of the modules is for shoes, the other for toys; half as likely each slot."""
    shoes = (columns["hero_category"] == "shoes")[:, None]
    fits = (module < MODULES // 2) == shoes
    active = (columns["user_click_24h"] > 2.5)[:, None]
    return np.where(fits, 0.5, 0.05) * np.where(active, 1.0, 0.5) / (1 + np.arange(module.shape[1]))


def _pages(encoder: Encoder, count: int, seed: int, policy: str = "random") -> Pages:
    random = np.random.default_rng(seed)
    columns = _columns(count, random)
    module = random.random((count, MODULES)).argsort(1)[:, :SLOTS]
    module[random.random(count) < 0.1, -1] = -1
    click = ((random.random(module.shape) < _chance(columns, module)) & (module >= 0)).astype(np.float32)
    purchase = click * (random.random(click.shape) < BUYS)
    encoded = encoder.encode(columns)
    return Pages(
        page_id=np.array([f"p{number}" for number in range(count)], dtype=object),
        user_id=np.full(count, None, dtype=object),
        ts=np.arange(count),
        policy=np.full(count, policy, dtype=object),
        platform=columns["platform"],
        platform_index=encoded.categorical[:, 0],
        fields=columns,
        encoded=encoded,
        module=module,
        propensity=np.full(module.shape, 1 / MODULES),
        click=click,
        intent=np.zeros_like(click),
        purchase=purchase.astype(np.float32),
        attributed=purchase.astype(np.float32),
        weight=random.choice([1.0, 2.0], count).astype(np.float32),
        candidates=np.tile(np.arange(MODULES), (count, 1)),
    )


@pytest.fixture(scope="session")
def shop() -> SimpleNamespace:
    """Pages and their truth: `chance(pages, module)` of a click, `buys` of a click; `pages(count, seed)` for more."""
    encoder = Encoder.fit(
        FIELDS,
        _columns(500, np.random.default_rng(0)),
        (Field("family", "categorical", "module"),),
        {"module_id": [f"m{n:02}" for n in range(MODULES)], "family": [FAMILIES[n % 3] for n in range(MODULES)]},
        slots=SLOTS,
        min_count=1,
        title_tokens=3,
        vocabulary=10,
    )

    def pages(count: int, seed: int, policy: str = "random") -> Pages:
        return _pages(encoder, count, seed, policy)

    return SimpleNamespace(
        encoder=encoder,
        train=pages(8000, 1),
        valid=pages(2000, 2),
        test=pages(400, 3),
        chance=lambda pages, module: _chance(pages.fields, module),
        buys=BUYS,
        pages=pages,
    )
