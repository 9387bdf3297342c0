import pytest

from pageopt.errors import ContractError
from pageopt.features.batch.point_in_time import PageMoment, assert_point_in_time
from pageopt.features.counters import CounterLayout, Happened, UserState, page_counters

T0 = 1_700_000_000_000_000
HOUR = 3_600_000_000
LAYOUT = CounterLayout((1, 24), ("click", "cart"), ("ca", "cb"), (), {"family": {"fa": 0.1, "fb": 0.1}}, (24,))


def happened(us: int, kind: str, family: str | None, category: str | None) -> Happened:
    return Happened(us, kind, {"family": family, "category": category})


EVENTS = [
    happened(T0 - 5 * HOUR, "click", "fa", "ca"),
    happened(T0 - HOUR, "cart", None, "ca"),
    happened(T0, "shown", "fb", None),  # on the page itself
    happened(T0, "click", "fb", "cb"),  # the page's own time
    happened(T0 + 60_000_000, "click", "fb", "cb"),  # a click on the page itself
]


def page(knows, **changes) -> PageMoment:
    """A page whose features were made from the events that `knows` lets through."""
    state = UserState(LAYOUT)
    state.add_all([event for event in EVENTS if knows(event)])
    until = max(T0, state.reference_us or T0)
    return PageMoment("p", "u", T0, "cb", page_counters(state.decayed_to(until), "cb", LAYOUT) | changes)


def test_honest_features_pass() -> None:
    honest = page(lambda event: event.us < T0)
    nobody = PageMoment("q", None, T0, "ca", page_counters(None, "ca", LAYOUT))
    assert_point_in_time([honest, nobody], {"u": EVENTS}, LAYOUT)


@pytest.mark.parametrize(
    "knows",
    [
        lambda event: event.us <= T0,  # its own moment
        lambda event: event.us < T0 or event.kind == "shown",  # its own impressions
        lambda event: event.us <= T0 + 3600,  # a little of the future
        lambda event: True,  # its own click
        lambda event: event.us < T0 - HOUR,  # too little
    ],
)
def test_leaks_and_losses_are_caught(knows) -> None:
    if [e for e in EVENTS if knows(e)] == [e for e in EVENTS if e.us < T0]:
        pytest.fail("this case plants nothing")
    with pytest.raises(ContractError, match="page p"):
        assert_point_in_time([page(knows)], {"u": EVENTS}, LAYOUT)


def test_features_of_nobody_are_nothing() -> None:
    features = page_counters(None, None, LAYOUT) | {"user_click_1h": 1.0}
    with pytest.raises(ContractError, match="user_click_1h"):
        assert_point_in_time([PageMoment("p", None, T0, None, features)], {}, LAYOUT)
