from collections.abc import Callable
from typing import Any

import pytest

from pageopt.engine.requests import Limits
from pageopt.serving import openapi
from pageopt.serving.app import PageApp
from pageopt.serving.operations import OPERATIONS


@pytest.mark.parametrize("path", OPERATIONS)
def test_an_example_is_answered_as_its_example_looks(post: Callable[..., Any], path: str) -> None:
    response = post(path, OPERATIONS[path].request)
    assert response.status == 200
    example = openapi.post(path, OPERATIONS[path])["responses"]["200"]["content"]["application/json"]["example"]
    assert set(response.json) == set(example)


def test_schemas_are_those_of_the_structs_with_their_limits_and_words() -> None:
    schemas = openapi.schemas(None)
    hero = schemas["HeroItem"]
    assert hero["description"] == "The item that the page is about."
    assert hero["required"] == ["item_id", "category"]
    assert hero["properties"]["title"]["anyOf"][0] == {"type": "string", "maxLength": 512}
    assert schemas["RecordEvents"]["properties"]["events"]["maxItems"] == 1000
    assert "maximum" not in schemas["Page"]["properties"]["slots"]["anyOf"][0]


def test_the_loaded_model_tells_its_slots_candidates_and_features(app: PageApp) -> None:
    assert PageApp().limits is None
    page = openapi.schemas(app.limits)["Page"]["properties"]
    assert page["slots"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 4}
    assert page["candidates"]["anyOf"][0]["maxItems"] == 1000
    features = page["features"]["anyOf"][0]
    assert features["additionalProperties"] is False
    assert features["properties"]["age"] == {"type": ["number", "null"]}
    assert set(features["properties"]) == {"age", "note", "season"}
    none = openapi.schemas(Limits(slots=4))["Page"]["properties"]["features"]["anyOf"][0]
    assert none == {"type": "object", "properties": {}, "additionalProperties": False}


def test_every_refusal_has_the_same_body() -> None:
    for path, operation in OPERATIONS.items():
        answers = openapi.post(path, operation)["responses"]
        assert set(answers) == {"200", "400", "404", "405", "408", "413", "429", "503"}
        schemas = {
            str(answers[status]["content"]["application/json"]["schema"]) for status in answers if status != "200"
        }
        assert schemas == {"{'$ref': '#/components/schemas/Refusal'}"}
    assert openapi.schemas(None)["Refusal"]["properties"]["error"] == {"$ref": "#/components/schemas/Problem"}
