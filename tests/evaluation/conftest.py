"""A tiny world for the evaluation tests: pages as the prepare stage would give them, and their true click rates."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pageopt.features.encoder import Encoder
from pageopt.features.pages import Pages
from pageopt.problems.fields import Field

FAMILIES = ("deals", "new", "new_deals")
MODULES, SLOTS = 9, 3


def encoder(pages: int = 200) -> Encoder:
    lifts = {f"user_family_lift_{h}h_{family}": family for h in (1, 24) for family in FAMILIES}
    fields = [Field("platform", "categorical", "page"), Field("hero_price", "numeric", "page")]
    fields += [Field(name, "numeric", "counter", "family", family) for name, family in lifts.items()]
    rng = np.random.default_rng(0)
    columns = {name: rng.random(pages) for name in [*lifts, "hero_price"]}
    columns["platform"] = np.array(["app", "web"])[np.arange(pages) % 2]
    modules: dict[str, Any] = {
        "module_id": [f"m{i}" for i in range(MODULES)],
        "family": [FAMILIES[i % 3] for i in range(MODULES)],
        "theme": [f"t{i % 2}" for i in range(MODULES)],
        "recall": np.linspace(0, 1, MODULES),
    }
    module_fields = [Field("theme", "categorical", "module"), Field("recall", "numeric", "module")]
    return Encoder.fit(fields, columns, module_fields, modules, slots=SLOTS, min_count=1, title_tokens=2, vocabulary=10)


def click_rate(platform: np.ndarray, module: np.ndarray) -> np.ndarray:
    """True P(click) `[P, K]`: even modules please the app, odd ones the web, lower slots are seen less."""
    app = (platform == "app")[:, None]
    pleased = (module % 2 == 0) == app
    chance = np.where(pleased, 0.5, 0.1) / (1 + 0.3 * np.arange(module.shape[1]))
    return np.where(module >= 0, chance, 0.0)


def pages(count: int = 600, *, users: int = 150, single: bool = False, seed: int = 0) -> Pages:
    """Random pages (three of four) and production pages without propensities; purchases follow one click in four."""
    rng = np.random.default_rng(seed)
    platform = np.array(["app", "web"], dtype=object)[rng.integers(0, 2, count)]
    module = np.argsort(rng.random((count, MODULES)), axis=1)[:, :SLOTS]
    propensity = np.full((count, SLOTS), 1 / MODULES)
    policy = np.where(np.arange(count) % 4 == 3, "production", "random").astype(object)
    propensity[policy == "production"] = np.nan
    if single:
        hidden = np.arange(SLOTS) != rng.integers(0, SLOTS, count)[:, None]
        module, propensity = np.where(hidden, -1, module), np.where(hidden, np.nan, propensity)
    click = (rng.random(module.shape) < click_rate(platform, module)).astype(np.float32)
    purchase = click * (rng.random(module.shape) < 0.25).astype(np.float32)
    user = np.array([None if u == 0 else f"u{u}" for u in rng.integers(0, users, count)], dtype=object)
    enc = encoder()
    numeric = {field.name: rng.random(count) for field in enc.page_fields if field.kind == "numeric"}
    fields = {**numeric, "platform": platform}
    return Pages(
        page_id=np.array([f"p{i}" for i in range(count)], dtype=object),
        user_id=user,
        ts=np.arange(count),
        policy=policy,
        platform=platform,
        platform_index=(platform == "web").astype(np.int64),
        fields=fields,
        encoded=enc.encode(fields),
        module=module,
        propensity=propensity,
        click=click,
        intent=np.zeros_like(click),
        purchase=purchase,
        attributed=purchase,
        weight=np.ones(count, dtype=np.float32),
        candidates=np.tile(np.arange(MODULES), (count, 1)),
    )


@pytest.fixture(scope="session")
def shop() -> SimpleNamespace:
    """The tiny world: `shop.encoder()`, `shop.pages(…)`, `shop.click_rate(platform, module)`."""
    return SimpleNamespace(encoder=encoder, pages=pages, click_rate=click_rate, modules=MODULES, slots=SLOTS)
