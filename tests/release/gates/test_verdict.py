import json

import msgspec
import numpy as np

from pageopt.release.gates.verdict import Check, Verdict, passed, reason


def check(name: str, ok: bool, value: float | None = 1.0, limit: float | None = 2.0) -> Check:
    return Check(name, ok, value, limit, f"{name} says so")


def test_a_verdict_is_decided_by_the_first_check_that_failed():
    verdict = Verdict.of("data", [check("a", True), check("b", False, 5.0), check("c", False, 7.0)])
    assert (verdict.passed, verdict.value, verdict.limit) == (False, 5.0, 2.0)
    assert verdict.why == "b says so; c says so"


def test_a_verdict_that_passed_shows_the_first_comparison():
    verdict = Verdict.of("data", [check("shown", True, 1.0, None), check("b", True, 3.0)])
    assert (verdict.passed, verdict.value, verdict.why) == (True, 3.0, "b says so")
    assert Verdict.of("drift", [check("nothing", True, None, None)]).why == "nothing says so"


def test_verdicts_are_json_whatever_numbers_they_came_from():
    verdict = Verdict.of("x", [Check("a", np.bool_(True), np.float32(0.5), float("nan"), "w")])  # type: ignore[arg-type]
    content = json.loads(json.dumps(msgspec.to_builtins(verdict), allow_nan=False))
    assert (content["passed"], content["value"], content["limit"]) == (True, 0.5, None)
    assert content["checks"][0]["name"] == "a"


def test_the_reason_names_the_gates_that_failed():
    verdicts = [Verdict.of("data", [check("a", True)]), Verdict.of("parity", [check("b", False)])]
    assert not passed(verdicts)
    assert reason(verdicts) == "parity: b says so"
    assert passed(verdicts[:1])
