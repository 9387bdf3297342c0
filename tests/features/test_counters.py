import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pageopt.features.counters import FLOOR, HOUR, CounterLayout, UserState, page_counters

LAYOUT = CounterLayout(
    half_lives_hours=(1, 24),
    family_kinds=("click", "purchase"),
    category_kinds=("click", "cart"),
    families=("fa", "fb"),
    categories=("ca", "cb", "cc"),
)
T0 = 1_700_000_000_000_000
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["click", "cart", "purchase", "watch"]),
        st.integers(T0, T0 + 200 * HOUR),
        st.sampled_from(["fa", "fb", "other", None]),
        st.sampled_from(["ca", "cb", "cc", None]),
    ),
    max_size=12,
)


def state_of(events) -> UserState:
    state = UserState(LAYOUT)
    for kind, ts, family, category in events:
        state.add(kind, ts, family=family, category=category)
    return state


def test_names() -> None:
    totals, categories, families = (LAYOUT.columns(group) for group in LAYOUT.groups)
    assert LAYOUT.groups[0].kinds == ("click", "cart", "purchase")
    assert totals[:3] == ("user_click_1h", "user_click_24h", "user_cart_1h")
    assert categories == ("user_hero_click_1h", "user_hero_click_24h", "user_hero_cart_1h", "user_hero_cart_24h")
    assert families[:2] == ("user_family_click_1h_fa", "user_family_click_24h_fa")
    assert families[-1] == "user_family_purchase_24h_fb"
    assert LAYOUT.numeric_names == (*totals, *categories, *families)
    assert len(LAYOUT.numeric_names) == 6 + 4 + 2 * 4 == len(set(LAYOUT.numeric_names))
    assert LAYOUT.names[-2:] == ("user_top_category", "user_top_family")
    assert CounterLayout.from_json(LAYOUT.to_json()) == LAYOUT


@given(EVENTS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_adding_is_commutative_and_equals_the_formula(events, random) -> None:
    end = T0 + 300 * HOUR
    ordered = state_of(events).decayed_to(end)
    shuffled = list(events)
    random.shuffle(shuffled)
    other = state_of(shuffled).decayed_to(end)
    for group in LAYOUT.groups:
        np.testing.assert_allclose(other.values[group.name], ordered.values[group.name], rtol=1e-9, atol=0)
    kinds = LAYOUT.groups[0].kinds
    for (k, kind), (j, hours) in itertools.product(enumerate(kinds), enumerate(LAYOUT.half_lives_hours)):
        expected = math.fsum(2 ** (-(end - ts) / (hours * HOUR)) for event, ts, *_ in events if event == kind)
        assert ordered.values["totals"][0, k, j] == pytest.approx(expected, rel=1e-9, abs=0)


def test_page_counters_by_hand() -> None:
    state = state_of([("click", T0, "fa", "cb"), ("click", T0 + HOUR, "fb", "ca"), ("cart", T0 + HOUR, "fb", "cb")])
    features = page_counters(state, "cb", LAYOUT)
    assert tuple(features) == LAYOUT.names
    assert features["user_click_1h"] == pytest.approx(1.5)
    assert features["user_cart_1h"] == 1
    assert features["user_hero_click_1h"] == pytest.approx(0.5)
    assert features["user_hero_cart_24h"] == 1
    assert features["user_family_click_1h_fa"] == pytest.approx(0.5)
    assert features["user_family_click_24h_fb"] == 1
    assert features["user_top_category"] == "ca"
    assert features["user_top_family"] == "fb"
    assert page_counters(state, "unheard of", LAYOUT)["user_hero_cart_1h"] == 0


def test_unknown_and_empty_users_have_nothing() -> None:
    for state in (None, UserState(LAYOUT), UserState(LAYOUT).decayed_to(T0)):
        features = page_counters(state, "ca", LAYOUT)
        assert tuple(features) == LAYOUT.names
        assert features.pop("user_top_category") is None
        assert features.pop("user_top_family") is None
        assert set(features.values()) == {0.0}


def test_ties_go_to_the_earlier_name() -> None:
    state = state_of([("click", T0, "fb", "cc"), ("click", T0, "fa", "cb")])
    features = page_counters(state, None, LAYOUT)
    assert (features["user_top_category"], features["user_top_family"]) == ("cb", "fa")


def test_what_has_decayed_below_the_floor_is_gone() -> None:
    state = state_of([("click", T0, "fa", "ca")])
    before = page_counters(state.decayed_to(T0 + 99 * 24 * HOUR), "ca", LAYOUT)
    assert before["user_click_24h"] == pytest.approx(2.0**-99)
    assert before["user_click_1h"] == 0
    assert before["user_top_family"] == "fa"
    after = page_counters(state.decayed_to(T0 + 101 * 24 * HOUR), "ca", LAYOUT)
    assert after["user_click_24h"] == 0
    assert after["user_top_family"] is None
    assert float(np.float32(FLOOR)) > 0


def test_counters_do_not_go_back() -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        state_of([("click", T0, None, None)]).decayed_to(T0 - 1)
