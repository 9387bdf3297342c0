import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pageopt.config import ShopParams
from pageopt.errors import ConfigError
from pageopt.simulator.catalog import build


def test_available_modules_are_as_many_as_asked_for(shop) -> None:
    catalog = shop.catalog
    assert catalog.candidate_count.mean() == pytest.approx(shop.params.available, rel=0.15)
    for group, count in enumerate(catalog.candidate_count):
        listed = catalog.candidates[group]
        assert (np.diff(listed[:count]) > 0).all()
        assert (listed[count:] == -1).all()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_scale_gives_a_shop_with_enough_families(data: st.DataObject) -> None:
    modules = data.draw(st.integers(2, 30))
    params = ShopParams(
        pages=10,
        days=1,
        users=5,
        items=60,
        categories=data.draw(st.integers(2, 40)),
        modules=modules,
        families=data.draw(st.integers(2, min(25, modules))),
        slots=data.draw(st.integers(1, 12)),
        available=data.draw(st.integers(1, modules)),
        traffic={"random": 1.0},
        propensity_samples=10,
    )
    catalog = build(params, data.draw(st.integers(0, 1000)))
    for group, count in enumerate(catalog.candidate_count):
        families = set(catalog.modules.family[catalog.candidates[group, :count]])
        assert len(families) >= min(params.families, params.slots, count)
    assert len(set(catalog.modules.family)) == params.families
    assert len(set(catalog.modules.family_names)) == params.families
    assert (catalog.complements != np.arange(params.categories)[:, None]).all()
    assert np.diff(catalog.items.first).min() >= 1


def test_pair_effects_follow_content_not_family_names(shop) -> None:
    catalog = shop.catalog
    alike = catalog.modules.content @ catalog.modules.content.T
    other_family = catalog.modules.family[:, None] != catalog.modules.family[None, :]
    np.fill_diagonal(alike, 0)
    assert catalog.interaction[alike > 0.75].max() < 0
    assert (catalog.interaction[other_family] < -0.2).any()
    assert (catalog.interaction > 0.1).any()


def test_seeds_below_zero_are_refused(make_shop) -> None:
    with pytest.raises(ConfigError, match="seed must be 0 or more"):
        make_shop(-1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"families": 17}, "17 families need"),
        ({"items": 3}, "4 categories need"),
        ({"available": 17}, "17 modules cannot be available"),
    ],
)
def test_params_that_leave_no_room_are_named(make_shop, change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_shop(**change)
