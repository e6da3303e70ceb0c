"""What stands in front of the framework is in the description of the API all the same."""

from typing import Any

import pytest

from polyforge.server.endpoints import ENDPOINTS
from polyforge.server.errors import render_problem
from polyforge.server.management import build_management


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return build_management([]).openapi()


def test_every_inference_path_of_the_platform_is_described(description: dict[str, Any]) -> None:
    served = {endpoint.path for endpoint in ENDPOINTS if endpoint.path.startswith("/api/")}
    assert len(served) == 9
    assert served == set(description["paths"])
    for path in served:
        operation = description["paths"][path]["post"]
        assert operation["x-permission"] == "inference"
        assert operation["security"] == [{"api_key": []}]


def test_the_platforms_paths_tell_errors_as_problems() -> None:
    assert all(each.render is render_problem for each in ENDPOINTS if each.path.startswith("/api/"))


def test_the_description_says_what_is_taken_and_given(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]
    operation = description["paths"]["/api/v1/chat"]["post"]
    taken = operation["requestBody"]["content"]["application/json"]["schema"]
    given = operation["responses"]["200"]["content"]
    assert taken == {"$ref": "#/components/schemas/ChatBody"}
    assert given["application/json"]["schema"] == {"$ref": "#/components/schemas/ChatReply"}
    assert set(given) == {"application/json", "text/event-stream"}
    assert schemas["ChatBody"]["required"] == ["model", "messages"]
    assert schemas["ChatBody"]["additionalProperties"] is False
    review = description["paths"]["/api/v1/code/review"]["post"]
    assert set(review["responses"]["200"]["content"]) == {"application/json"}
    assert schemas["ReviewBody"]["required"] == ["language", "code"]
    assert schemas["FindingsReply"]["properties"]["findings"]["items"] == {"$ref": "#/components/schemas/Finding"}


def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]

    def check(node: Any) -> None:
        if isinstance(node, dict):
            reference: Any = node.get("$ref")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            assert reference is None or reference.removeprefix("#/components/schemas/") in schemas
            for inner in node.values():  # pyright: ignore[reportUnknownVariableType]
                check(inner)
        elif isinstance(node, list):
            for inner in node:  # pyright: ignore[reportUnknownVariableType]
                check(inner)

    check(description["paths"])
    check(schemas)


def test_asked_twice_it_says_the_same() -> None:
    app = build_management([])
    assert app.openapi() is app.openapi()
