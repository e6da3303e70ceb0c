"""The platform's own paths for chat, completion and code, in a running installation with a scripted provider."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.behaviours import Answer, Fail, Tokens
from tests.support.clients import Response
from tests.support.server import Key, Polyforge
from tests.support.settings import UPSTREAM_KEY, solo
from tests.support.upstream import Upstream

CHAT, COMPLETION, REVIEW, GENERATE = (
    "/api/v1/chat",
    "/api/v1/completion",
    "/api/v1/code/review",
    "/api/v1/code/generate",
)
PROBLEM = "application/problem+json"
TOKENS = Tokens(prompt=1_000, completion=500, cached=100)
RATES = {"input": 1.0, "cached_input": 0.5, "output": 2.0}
PRICE = 900 + 50 + 1_000
"""Micro-USD of a call that uses TOKENS at RATES."""
CODE = "def half(n):\n    return n / 0\n"
FINDING = {"line": 2, "severity": "critical", "category": "bug", "message": "Divides by zero.", "end_line": None}
FINDINGS = {"findings": [{**FINDING, "suggestion": "return n / 2"}], "summary": "Always fails."}
GOOD = json.dumps(FINDINGS)
BAD_LINE = json.dumps({"findings": [{**FINDING, "line": 99}], "summary": ""})


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    """A provider of its own, so that its first model is the one that code operations take by default."""
    server = Upstream(api_key=UPSTREAM_KEY).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def place(serve: Serve, provider: Upstream) -> Polyforge:
    """An installation whose models are charged for by the token."""
    lab = {"use": "openai", "base_url": provider.url, "api_key": UPSTREAM_KEY}
    return serve(
        {
            "gateway": {"cooldown_seconds": 0, "attempts": 1},
            "providers": {"lab": lab},
            "models": {
                **solo("vectors", task="embedding"),
                **solo("coder", price=RATES),
                **solo("second", price=RATES),
                "lab/*": {"deployments": [{"provider": "lab"}], "price": RATES},
            },
        }
    )


@pytest.fixture
def key(place: Polyforge) -> Key:
    return place.create_key()


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model that only this test uses."""
    return f"lab/{request.node.name}"


def script(provider: Upstream, model: str, *texts: str) -> None:
    provider.script(model.removeprefix("lab/"), *(Answer(text, tokens=TOKENS) for text in texts))


def review(place: Polyforge, key: Key, **fields: Any) -> Response:
    return place.call(REVIEW, key=key.key, json={"language": "python", "code": CODE, **fields})


def conversation(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Say hello."}], **more}


def events(response: Response) -> list[tuple[str, Any]]:
    """Name and payload of each server-sent event."""
    pairs = [event.split("\n") for event in response.body.decode().split("\n\n") if event]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


# --- chat and completion ---


def test_chat_answers_as_a_whole(place: Polyforge, provider: Upstream, key: Key, model: str) -> None:
    script(provider, model, "Hello there.")
    response = place.call(CHAT, key=key.key, json=conversation(model, system="Be kind.", temperature=0.5))
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    reply = response.json
    assert (reply["text"], reply["content"], reply["finish"], reply["tool_calls"]) == (
        "Hello there.",
        [{"type": "text", "text": "Hello there.", "cached": False}],
        "stop",
        [],
    )
    assert reply["id"] == response.request_id
    assert (reply["provider"], reply["deployment"]) == ("lab", model.removeprefix("lab/"))
    assert float(response.headers["x-polyforge-cost-usd"]) == PRICE / 1_000_000
    assert reply["usage"] == {
        "input": 1_000,
        "cached_input": 100,
        "output": 500,
        "reasoning": 0,
        "exact": True,
        "cost_usd": PRICE / 1_000_000,
    }
    (asked,) = provider.requests(model.removeprefix("lab/"))
    assert [message["content"] for message in asked.json["messages"]] == ["Be kind.", "Say hello."]
    assert asked.json["temperature"] == 0.5
    (record,) = place.settled(key)
    assert (record["price_micros"], record["task"], record["status"]) == (PRICE, "chat", "ok")


def test_chat_streams_named_events(place: Polyforge, provider: Upstream, key: Key, model: str) -> None:
    script(provider, model, "Hello there.")
    response = place.call(CHAT, key=key.key, json=conversation(model, stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.complete
    got = events(response)
    assert [name for name, _ in got] == ["start", "text", "text", "finish", "usage"]
    answered = {"provider": "lab", "deployment": model.removeprefix("lab/")}
    assert got[0][1] == {"id": response.request_id, "model": model, **answered}
    assert "".join(data["text"] for name, data in got if name == "text") == "Hello there."
    assert (got[-1][1]["output"], got[-1][1]["cost_usd"]) == (500, PRICE / 1_000_000)
    (record,) = place.settled(key)
    assert (record["price_micros"], record["stream"]) == (PRICE, 1)


def test_a_stream_that_breaks_ends_with_a_problem(place: Polyforge, provider: Upstream, key: Key, model: str) -> None:
    provider.script(model.removeprefix("lab/"), Answer("Hello there.", ending="cut", after=1))
    response = place.call(CHAT, key=key.key, json=conversation(model, stream=True))
    assert response.status == 200
    name, problem = events(response)[-1]
    assert (name, problem["status"], problem["code"]) == ("error", 502, "upstream_error")
    place.settled(key)


def test_a_prompt_is_completed(place: Polyforge, provider: Upstream, key: Key, model: str) -> None:
    script(provider, model, "upon a time")
    response = place.call(COMPLETION, key=key.key, json={"model": model, "prompt": "Once"})
    assert response.status == 200
    assert response.json["text"] == "upon a time"
    streamed = place.call(COMPLETION, key=key.key, json={"model": model, "prompt": "Once", "stream": True})
    assert "".join(data["text"] for name, data in events(streamed) if name == "text") == "upon a time"
    place.settled(key, 2)


# --- errors are problems ---


@pytest.mark.parametrize("path", [CHAT, COMPLETION, REVIEW])
def test_errors_are_problems(place: Polyforge, key: Key, path: str) -> None:
    def problem(response: Response, status: int) -> dict[str, Any]:
        assert (response.status, response.headers["content-type"]) == (status, PROBLEM)
        assert response.json["request_id"] == response.request_id
        return response.json

    assert problem(place.call(path, json={}), 401)["code"] == "invalid_api_key"
    assert problem(place.call(path, key=key.key, method="GET"), 405)["code"] == "method_not_allowed"
    assert problem(place.call(path, key=key.key, body=b"{"), 400)["code"] == "invalid_request"
    assert problem(place.call(path, key=key.key, json={"more": 1}), 400)["param"] is not None
    bodies = {
        CHAT: conversation("nobody"),
        COMPLETION: {"model": "nobody", "prompt": "x"},
        REVIEW: {"model": "nobody", "language": "python", "code": CODE},
    }
    assert problem(place.call(path, key=key.key, json=bodies[path]), 404)["code"] == "model_not_found"


def test_a_key_needs_the_scope_and_the_model(place: Polyforge) -> None:
    reader = place.create_key(scopes=["models:read"])
    assert review(place, reader).status == 403
    limited = place.create_key(models=["second"])
    assert review(place, limited, model="coder").json["code"] == "model_not_found"


def test_limits_and_budgets_hold(place: Polyforge, provider: Upstream, model: str) -> None:
    script(provider, model, "Hello there.")
    slow = place.create_key(rpm=1)
    assert place.call(CHAT, key=slow.key, json=conversation(model)).status == 200
    refused = place.call(CHAT, key=slow.key, json=conversation(model))
    assert (refused.status, refused.json["code"]) == (429, "rate_limit_exceeded")
    assert int(refused.headers["retry-after"]) >= 1
    place.settled(slow)
    poor = place.create_key(budget_usd=0.000_001)
    broke = review(place, poor, model=model)
    assert (broke.status, broke.json["code"]) == (402, "insufficient_quota")


# --- code ---


def test_a_review_is_checked_and_given_on(place: Polyforge, provider: Upstream, key: Key, model: str) -> None:
    script(provider, model, f"Of course:\n```json\n{GOOD}\n```")
    response = review(place, key, model=model, focus=["bugs"])
    assert response.status == 200, response.body
    assert {name: response.json[name] for name in FINDINGS} == FINDINGS
    assert (response.json["model"], response.json["usage"]["output"]) == (model, 500)
    (asked,) = provider.requests(model.removeprefix("lab/"))
    assert asked.json["response_format"]["json_schema"]["name"] == "review"
    assert "2|     return n / 0" in asked.json["messages"][1]["content"]
    place.settled(key)


@pytest.mark.parametrize("first", ["I would say it fails.", BAD_LINE, '{"findings": 1}', ""], ids=str)
def test_an_answer_that_does_not_hold_is_mended(place: Polyforge, provider: Upstream, key: Key, first: str) -> None:
    model = f"lab/mended-{abs(hash(first))}"
    script(provider, model, first, GOOD)
    response = review(place, key, model=model)
    assert response.status == 200, response.body
    assert response.json["findings"] == FINDINGS["findings"]
    asked = provider.requests(model.removeprefix("lab/"))
    assert [message["role"] for message in asked[1].json["messages"]] == ["system", "user", "assistant", "user"]
    assert asked[1].json["messages"][:2] == asked[0].json["messages"]
    usage = response.json["usage"]
    assert (usage["input"], usage["output"], usage["cost_usd"]) == (2_000, 1_000, 2 * PRICE / 1_000_000)
    (record,) = place.settled(key)
    assert (record["price_micros"], record["output_tokens"], record["status"]) == (2 * PRICE, 1_000, "ok")


def test_two_answers_that_do_not_hold_are_an_error_that_was_paid_for(
    place: Polyforge, provider: Upstream, model: str
) -> None:
    script(provider, model, "I would say it fails.", "It " + "really " * 1_000 + "does.")
    key = place.create_key(budget_usd=1)
    response = review(place, key, model=model)
    assert (response.status, response.headers["content-type"]) == (502, PROBLEM)
    assert response.json["code"] == "invalid_model_output"
    assert response.json["output"].startswith("It really")
    assert len(response.json["output"]) == 2_000
    assert len(provider.requests(model.removeprefix("lab/"))) == 2
    (record,) = place.settled(key)
    assert (record["status"], record["http_status"]) == ("error", 502)
    assert (record["price_micros"], record["output_tokens"]) == (2 * PRICE, 1_000)


def test_a_second_try_that_fails_costs_the_first(place: Polyforge, provider: Upstream, key: Key, model: str) -> None:
    provider.script(model.removeprefix("lab/"), Answer("No idea.", tokens=TOKENS), Fail(500))
    response = review(place, key, model=model)
    assert (response.status, response.json["code"]) == (502, "upstream_error")
    (record,) = place.settled(key)
    assert (record["status"], record["price_micros"], record["output_tokens"]) == ("error", PRICE, 500)


def test_an_answer_whose_usage_nobody_told_is_estimated(
    place: Polyforge, provider: Upstream, key: Key, model: str
) -> None:
    untold = Answer("No idea.", tokens=None)
    provider.script(model.removeprefix("lab/"), untold, Answer(GOOD, tokens=TOKENS))
    response = review(place, key, model=model)
    assert response.status == 200
    assert response.json["usage"]["exact"] is False
    assert response.json["usage"]["output"] == 500 + 2
    place.settled(key)


def test_without_a_model_the_first_chat_model_answers(place: Polyforge, provider: Upstream, key: Key) -> None:
    blocks = {"blocks": [{"language": "python", "code": "pass", "path": "a.py"}], "explanation": "Nothing."}
    for name in ("coder", "second"):
        provider.script(name, Answer(json.dumps(blocks), tokens=TOKENS))
    body = {"language": "python", "instructions": "Do nothing."}
    response = place.call(GENERATE, key=key.key, json=body)
    assert (response.status, response.json["model"]) == (200, "coder")
    assert response.json["blocks"] == blocks["blocks"]
    place.settled(key)
    other = place.create_key(models=["second"])
    assert place.call(GENERATE, key=other.key, json=body).json["model"] == "second"
    place.settled(other)
    none = place.create_key(models=["vectors"])
    refused = place.call(GENERATE, key=none.key, json=body)
    assert (refused.status, refused.json["param"]) == (400, "model")


def test_code_operations_do_not_stream(place: Polyforge, key: Key) -> None:
    response = review(place, key, stream=True)
    assert (response.status, response.json["param"]) == (400, "stream")


def test_the_description_names_them(place: Polyforge) -> None:
    paths = place.call("/api/openapi.json", method="GET").json["paths"]
    assert {CHAT, COMPLETION, REVIEW, GENERATE} <= set(paths)
