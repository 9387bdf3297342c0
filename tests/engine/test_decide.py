from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from pageopt.engine.decide import Answer, Decider
from pageopt.engine.requests import parse_page

Bodies = Callable[..., dict[str, Any]]


def decide(engine: Any, content: dict[str, Any]) -> tuple[Answer, str | None]:
    decider = Decider(engine, engine.users, "7")
    return decider.answer(parse_page(msgspec.json.encode(content), decider.limits))


def test_a_page_in_full(engine: Any, page: Bodies) -> None:
    answer, reason = decide(engine, page(candidates=["m3", "m0"], slots=2))
    assert msgspec.to_builtins(answer) == {
        "page_id": "p1",
        "modules": [
            {"slot": 1, "module_id": "m3", "family": "bought", **_odds(0.25), "propensity": 1.0},
            {"slot": 2, "module_id": "m0", "family": "alike", **_odds(0.25), "propensity": 1.0},
        ],
        "page_score": 0.25,
        "policy": "trnn",
        "model_version": "7",
        "degraded": False,
    }
    assert reason is None


def _odds(value: float | None) -> dict[str, float | None]:
    return {"p_click": value, "p_intent": value, "p_purchase": value}


def test_what_the_model_is_asked(engine: Any, page: Bodies) -> None:
    decide(engine, page(user_id="u1", candidates=["m1"], features={"age": 3}))
    fields, candidates, slots = engine.asked[0]
    assert fields == {
        "user_click_24h": 5.0,
        "age": 3,
        "page_id": "p1",
        "user_id": "u1",
        "platform": "web",
        "hero_item_id": "i1",
        "hero_category": "shoes",
        "hero_title": "Red shoe",
        "hero_price": 20.0,
    }
    assert (candidates, slots) == ([1], 4)


def test_an_unknown_user_has_counters_of_zero(engine: Any, page: Bodies) -> None:
    answer, _ = decide(engine, page(user_id="nobody"))
    assert engine.asked[0][0]["user_click_24h"] == 0.0
    assert not answer.degraded


def test_without_candidates_all_modules_stand_for_choice(engine: Any, page: Bodies) -> None:
    decide(engine, page())
    assert engine.asked[0][1] == [0, 1, 2, 3, 4, 5]


def test_repeated_candidates_count_once_where_they_came_first(engine: Any, page: Bodies) -> None:
    answer, _ = decide(engine, page(candidates=["m2", "m1", "m2", "m1"]))
    assert [shown.module_id for shown in answer.modules] == ["m2", "m1"]
    assert not answer.degraded


def test_unknown_modules_are_left_out_and_said(engine: Any, page: Bodies) -> None:
    answer, reason = decide(engine, page(candidates=["new", "m1", "newer"]))
    assert [shown.module_id for shown in answer.modules] == ["m1"]
    assert (answer.degraded, reason, answer.policy) == (True, "unknown_modules", "trnn")


def test_only_unknown_modules_give_an_empty_page(engine: Any, page: Bodies) -> None:
    answer, reason = decide(engine, page(candidates=["new"]))
    assert (answer.modules, answer.page_score, answer.degraded, reason) == ([], 0.0, True, "unknown_modules")


def test_no_candidates_give_an_empty_page(engine: Any, page: Bodies) -> None:
    answer, reason = decide(engine, page(candidates=[]))
    assert (answer.modules, answer.page_score, answer.degraded, reason) == ([], 0.0, False, None)
    assert engine.asked == []


def test_fewer_candidates_than_slots_give_a_shorter_page(engine: Any, page: Bodies) -> None:
    answer, _ = decide(engine, page(candidates=["m5", "m4"]))
    assert [shown.slot for shown in answer.modules] == [1, 2]
    assert not answer.degraded


def test_a_page_without_id_gets_one_of_its_own(engine: Any, page: Bodies) -> None:
    ids = {decide(engine, page(page_id=...))[0].page_id for _ in range(3)}
    assert len(ids) == 3
    assert all(len(each) == 32 for each in ids)


@pytest.mark.parametrize("failure", ["raises", "not a number", "too short"])
def test_the_static_page_stands_in_for_a_model_that_fails(engine: Any, page: Bodies, failure: str) -> None:
    if failure == "raises":
        engine.broken = RuntimeError("no memory")
    elif failure == "not a number":
        engine.odds = float("nan")
    else:
        engine.rank_one = lambda fields, candidates, slots: type(engine).rank_one(engine, fields, candidates[:1], slots)
    answer, reason = decide(engine, page())
    # By overall order 0 1 3 2, of families 0 0 1 0: no two neighbours of family 0.
    assert [shown.module_id for shown in answer.modules] == ["m0", "m3", "m1", "m4"]
    assert all((s.p_click, s.p_intent, s.p_purchase, s.propensity) == (None, None, None, 1.0) for s in answer.modules)
    assert (answer.page_score, answer.policy, answer.degraded) == (None, "static", True)
    assert reason == "model_failed"
