import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pageopt.features.counters import FLOOR, HOUR, CounterLayout, UserState, page_counters

LAYOUT = CounterLayout(
    half_lives_hours=(1, 24),
    kinds=("view", "click", "cart"),
    categories=("ca", "cb", "cc"),
    topics=("t0", "t1"),
    lifts={"family": {"fa": 0.1, "fb": 0.02}},
    lift_half_lives_hours=(24, 1000),
    prior_clicks=2,
)
T0 = 1_700_000_000_000_000
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["view", "click", "cart", "purchase", "shown"]),
        st.integers(T0, T0 + 200 * HOUR),
        st.sampled_from(["fa", "fb", "other", None, {"fa": 2.0, "fb": 1.0}]),
        st.sampled_from(["ca", "cb", "cc", None]),
        st.sampled_from(["t0", {"t0": 0.75, "t1": 0.25}, None]),
    ),
    max_size=12,
)


def state_of(events) -> UserState:
    state = UserState(LAYOUT)
    for kind, ts, family, category, topic in events:
        state.add(kind, ts, family=family, category=category, topic=topic)
    return state


def test_names() -> None:
    totals, categories, topics, families = (tuple(group.columns) for group in LAYOUT.groups)
    assert totals[:3] == ("user_view_1h", "user_view_24h", "user_click_1h")
    assert categories[-2:] == ("user_hero_cart_1h", "user_hero_cart_24h")
    assert topics[1:3] == ("user_topic_view_24h_t0", "user_topic_view_1h_t1")
    assert LAYOUT.groups[-1].columns["user_family_lift_24h_fb"] == "fb"
    assert families == tuple(f"user_family_lift_{h}h_{family}" for family in ("fa", "fb") for h in (24, 1000))
    assert LAYOUT.names == (*totals, *categories, *topics, *families)
    assert len(LAYOUT.names) == 6 + 6 + 2 * 2 + 2 * 2 == len(set(LAYOUT.names))
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

    def counted(kind: str, hours: float, times) -> float:
        return math.fsum(2 ** (-(end - ts) / (hours * HOUR)) * times(*of) for event, ts, *of in events if event == kind)

    def share(of, key: str) -> float:
        return of.get(key, 0) if isinstance(of, dict) else float(of == key)

    features = page_counters(ordered, "cb", LAYOUT)
    for kind, hours in itertools.product(LAYOUT.kinds, LAYOUT.half_lives_hours):
        total, mine = counted(kind, hours, lambda *_: 1), counted(kind, hours, lambda f, c, t: c == "cb")
        assert features[f"user_{kind}_{hours}h"] == pytest.approx(total, rel=1e-9, abs=FLOOR)
        assert features[f"user_hero_{kind}_{hours}h"] == pytest.approx(mine, rel=1e-9, abs=FLOOR)
    for hours, topic in itertools.product(LAYOUT.half_lives_hours, LAYOUT.topics):
        all_topics = counted("view", hours, lambda f, c, t: t is not None)
        mine = counted("view", hours, lambda f, c, t: share(t, topic))  # noqa: B023
        assert features[f"user_topic_view_{hours}h_{topic}"] == pytest.approx(mine / (all_topics + 1), abs=1e-12)
    for hours, (family, usual) in itertools.product(LAYOUT.lift_half_lives_hours, LAYOUT.lifts["family"].items()):
        clicks, shown = (counted(k, hours, lambda f, c, t: share(f, family)) for k in ("click", "shown"))  # noqa: B023
        lift = math.log(clicks + 2) - math.log(usual * shown + 2)
        assert features[f"user_family_lift_{hours}h_{family}"] == pytest.approx(lift, abs=1e-12)


def test_a_lift_by_hand_grows_with_clicks_and_falls_with_what_was_shown_in_vain() -> None:
    def lift(clicks: int, shown: float) -> float:
        state = UserState(LAYOUT)
        state.add("shown", T0, family={"fa": shown})
        for _ in range(clicks):
            state.add("click", T0, family="fa")
        return page_counters(state, None, LAYOUT)["user_family_lift_24h_fa"]

    assert lift(0, 0) == 0
    assert lift(1, 10) == pytest.approx(0)  # as usual
    assert lift(4, 10) == pytest.approx(math.log(6 / 3))
    assert lift(0, 40) == pytest.approx(math.log(2 / 6))


def test_unknown_and_empty_users_have_nothing() -> None:
    for state in (None, UserState(LAYOUT), UserState(LAYOUT).decayed_to(T0)):
        features = page_counters(state, "ca", LAYOUT)
        assert tuple(features) == LAYOUT.names
        assert set(features.values()) == {0.0}
    known = state_of([("click", T0, "fa", "ca", None)])
    assert page_counters(known, "unheard of", LAYOUT)["user_hero_click_1h"] == 0


def test_what_has_decayed_below_the_floor_is_gone() -> None:
    state = state_of([("click", T0, "fa", "ca", None)])
    before = page_counters(state.decayed_to(T0 + 99 * 24 * HOUR), "ca", LAYOUT)
    assert before["user_click_24h"] == pytest.approx(2.0**-99)
    assert before["user_click_1h"] == 0
    assert page_counters(state.decayed_to(T0 + 101 * 24 * HOUR), "ca", LAYOUT)["user_click_24h"] == 0
    assert float(np.float32(FLOOR)) > 0


def test_counters_do_not_go_back() -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        state_of([("click", T0, None, None, None)]).decayed_to(T0 - 1)
