import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from pageopt.engine.requests import MAX_PAGE_BYTES
from pageopt.serving import app as app_module
from pageopt.serving.app import PageApp
from pageopt.serving.events import MAX_EVENTS_BYTES

Bodies = Callable[..., dict[str, Any]]
Post = Callable[[str, Any], Any]


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_rank_page_answers_json(post: Post, page: Bodies) -> None:
    response = post("/rank_page", page())
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert [shown["module_id"] for shown in response.json["modules"]] == ["m0", "m1", "m2", "m3"]
    assert response.json["model_version"] == "7"


def test_the_content_type_does_not_matter(talk: Any, page: Bodies) -> None:
    body = json.dumps(page()).encode()
    assert talk("/rank_page", body, headers=[(b"content-type", b"text/plain")]).status == 200


def test_a_body_in_parts(talk: Any, page: Bodies) -> None:
    body = json.dumps(page()).encode()
    assert talk("/rank_page", body[:10], body[10:11], b"", body[11:]).status == 200


def test_a_bad_field_is_named(post: Post, page: Bodies) -> None:
    response = post("/rank_page", page(slots=99))
    assert response.status == 400
    assert response.json["error"]["field"] == "page.slots"
    assert set(response.json["error"]) == {"field", "message", "fix"}


def test_other_paths_and_methods(talk: Any) -> None:
    assert talk("/", method="GET").status == 404
    assert talk("/rank_page/", b"{}").status == 404
    refused = talk("/rank_page", method="GET")
    assert (refused.status, refused.headers["allow"]) == (405, "POST")
    assert "POST" in refused.json["error"]["message"]


@pytest.mark.parametrize(("path", "limit"), [("/rank_page", MAX_PAGE_BYTES), ("/record_events", MAX_EVENTS_BYTES)])
def test_a_body_too_large_is_refused_before_it_is_read(talk: Any, path: str, limit: int) -> None:
    pulled: list[int] = []
    declared = [(b"content-length", str(limit + 1).encode())]
    assert talk(path, b"x", b"x", headers=declared, pulled=pulled).status == 413
    assert pulled == []


def test_a_body_of_unknown_length_is_read_no_further_than_the_limit(talk: Any) -> None:
    pulled: list[int] = []
    response = talk("/rank_page", *[b" " * 65536] * 100, pulled=pulled)
    assert response.status == 413
    assert sum(pulled) <= MAX_PAGE_BYTES + 65536


def test_the_largest_body_is_read(talk: Any, page: Bodies) -> None:
    body = json.dumps(page()).encode()
    assert talk("/rank_page", body + b" " * (MAX_PAGE_BYTES - len(body))).status == 200


def test_a_caller_that_hangs_up_gets_no_answer(app: PageApp) -> None:
    sent: list[Any] = []

    async def hang_up() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def reply(message: Any) -> None:
        sent.append(message)

    asyncio.run(app({"type": "http", "path": "/rank_page", "method": "POST", "headers": []}, hang_up, reply))
    assert sent == []


def test_a_body_that_does_not_come(app: PageApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "BODY_SECONDS", 0.01)
    sent: list[Any] = []

    async def wait() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def reply(message: Any) -> None:
        sent.append(message)

    asyncio.run(app({"type": "http", "path": "/rank_page", "method": "POST", "headers": []}, wait, reply))
    assert sent[0]["status"] == 408


def test_too_many_at_once(talk: Any, page: Bodies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "MAX_IN_FLIGHT", 0)
    assert talk("/rank_page", json.dumps(page()).encode()).status == 429


def test_before_a_model_is_attached() -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    async def reply(message: Any) -> None:
        sent.append(message)

    asyncio.run(PageApp()({"type": "http", "path": "/rank_page", "method": "POST", "headers": []}, receive, reply))
    assert sent[0]["status"] == 503


def test_a_model_that_fails_still_gives_a_page(post: Post, page: Bodies, engine: Any) -> None:
    before = count("pageopt_degraded_total", reason="model_failed")
    engine.broken = RuntimeError("no memory")
    response = post("/rank_page", page())
    assert (response.status, response.json["policy"], response.json["degraded"]) == (200, "static", True)
    assert response.json["page_score"] is None
    assert count("pageopt_degraded_total", reason="model_failed") == before + 1
    engine.broken = None
    assert post("/rank_page", page()).json["policy"] == "trnn"


def test_decisions_and_refusals_are_counted(post: Post, page: Bodies) -> None:
    decided = count("pageopt_decisions_total", policy="trnn", model_version="7")
    timed = count("pageopt_decision_seconds_count")
    refused = count("pageopt_refused_total", path="/rank_page", status="400")
    post("/rank_page", page())
    post("/rank_page", b"{}")
    assert count("pageopt_decisions_total", policy="trnn", model_version="7") == decided + 1
    assert count("pageopt_decision_seconds_count") == timed + 1
    assert count("pageopt_refused_total", path="/rank_page", status="400") == refused + 1


def test_paths_that_do_not_exist_do_not_become_labels(post: Post) -> None:
    before = count("pageopt_refused_total", path="other", status="404")
    post("/wp-login.php", b"")
    assert count("pageopt_refused_total", path="other", status="404") == before + 1


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANY = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
HERO = st.fixed_dictionaries(
    {"item_id": st.text(max_size=4) | ANY, "category": st.text(max_size=4) | SCALARS},
    optional={"title": st.text(max_size=20) | SCALARS, "price": st.floats() | st.integers() | SCALARS, "x": ANY},
)
PAGE = st.fixed_dictionaries(
    {"platform": st.text(max_size=4) | SCALARS, "hero_item": HERO | SCALARS},
    optional={
        "page_id": st.text(max_size=4) | SCALARS,
        "user_id": st.text(max_size=4) | SCALARS,
        "candidates": st.lists(st.sampled_from(["m0", "m1", "m5", "zz"]) | SCALARS, max_size=6) | SCALARS,
        "slots": st.integers(-1, 9) | SCALARS,
        "features": st.dictionaries(st.sampled_from(["age", "season", "note", "zz"]), ANY, max_size=3) | SCALARS,
    },
)
EVENT = st.fixed_dictionaries(
    {"event_id": st.text(max_size=4) | SCALARS, "ts": st.integers() | st.datetimes().map(str) | SCALARS},
    optional={"kind": st.sampled_from(["click", "view"]) | ANY, "slot": st.integers(), "price": st.floats(), "x": ANY},
)
BODIES = (
    st.fixed_dictionaries({"page": PAGE | ANY}, optional={"x": ANY})
    | st.fixed_dictionaries({"events": st.lists(EVENT | ANY, max_size=4) | ANY})
    | ANY
)
ALLOWED = {200, 400, 405, 413, 415, 422}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(path=st.sampled_from(["/rank_page", "/record_events"]), body=BODIES)
def test_any_json_gets_an_answer_without_nan(post: Post, path: str, body: Any) -> None:
    response = post(path, body)
    assert response.status in ALLOWED
    assert isinstance(response.json, dict)  # parsing it refuses NaN


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(path=st.sampled_from(["/rank_page", "/record_events"]), body=st.binary(max_size=200))
def test_any_bytes_get_an_answer(post: Post, path: str, body: bytes) -> None:
    assert post(path, body).status in ALLOWED


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, 400), junk=st.binary(max_size=3))
def test_a_good_body_cut_and_spoiled(post: Post, page: Bodies, cut: int, junk: bytes) -> None:
    body = json.dumps(page(candidates=["m1", "m2"], features={"age": 1.5})).encode()
    assert post("/rank_page", body[:cut] + junk + body[cut:]).status in ALLOWED
