"""Each error raises the class that OpenAI's client has for it, with everything its handlers read."""

from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.behaviours import Answer, Fail
from tests.support.server import Key, Polyforge
from tests.support.settings import PER_CALL_USD, Pool
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.wire.conftest import HELLO, Counted


def ask(client: OpenAI, model: str, **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=HELLO, **more)


def refusal_of(client: OpenAI, model: str, **more: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as raised:
        ask(client, model, **more)
    error = raised.value
    assert error.request_id
    assert error.message
    assert isinstance(error.body, dict)
    assert error.body.keys() >= {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize("model", ["no-such-model", "assistant"])
def test_refusals_tell_the_overhead_too(client: OpenAI, model: str) -> None:
    error = refusal_of(client, model, n=0 if model == "assistant" else 1)
    assert float(error.response.headers["x-polyforge-overhead-ms"]) >= 0


@pytest.mark.parametrize("key", ["pf-" + "A" * 43, "sk-not-ours", "pf-", "x"])
def test_wrong_key(house: Polyforge, key: str) -> None:
    with OpenAI(base_url=f"{house.url}/v1", api_key=key, max_retries=0) as client:
        error = refusal_of(client, "assistant")
    assert isinstance(error, openai.AuthenticationError)
    assert error.code == "invalid_api_key"
    assert key not in error.message or len(key) < 4


def test_unknown_model(client: OpenAI) -> None:
    error = refusal_of(client, "no-such-model")
    assert isinstance(error, openai.NotFoundError)
    assert (error.code, error.param) == ("model_not_found", "model")


def test_a_model_that_the_key_may_not_use_looks_unknown(house: Polyforge, client: OpenAI) -> None:
    with OpenAI(base_url=f"{house.url}/v1", api_key=house.create_key(models=["renamed"]).key) as other:
        hidden, unknown = refusal_of(other, "assistant"), refusal_of(other, "no-such-model")
    assert isinstance(hidden, openai.NotFoundError)
    assert hidden.message.replace("assistant", "*") == unknown.message.replace("no-such-model", "*")


def test_a_key_without_the_scope(house: Polyforge) -> None:
    with OpenAI(base_url=f"{house.url}/v1", api_key=house.create_key(scopes=["models:read"]).key) as client:
        assert isinstance(refusal_of(client, "assistant"), openai.PermissionDeniedError)


def test_a_revoked_key(house: Polyforge, key: Key, client: OpenAI) -> None:
    ask(client, "assistant")
    assert house.api("DELETE", f"/keys/{key.id}").status in (200, 204)

    def refused() -> bool:
        try:
            ask(client, "assistant")
        except openai.AuthenticationError:
            return True
        return False

    eventually(refused)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": "hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_bad_request_names_the_field(client: OpenAI, change: dict[str, Any], param: str) -> None:
    error = refusal_of(client, "assistant", extra_body=change)
    assert isinstance(error, openai.BadRequestError)
    assert error.param == param
    assert error.type == "invalid_request_error"


def test_a_spent_budget_is_tried_once(
    house: Polyforge, upstream: Upstream, pool: Pool, counted: Callable[..., Counted]
) -> None:
    model = pool.solo()
    key = house.create_key(budget_usd=PER_CALL_USD)
    one = counted(key)
    ask(one.client, model)
    one.requests.clear()
    error = refusal_of(one.client, model)
    assert isinstance(error, openai.RateLimitError)
    assert (error.code, error.type) == ("insufficient_quota", "insufficient_quota")
    assert error.response.headers["x-should-retry"] == "false"
    assert len(one.requests) == 1
    assert len(upstream.requests(model)) == 1


def test_a_rate_limit_says_when_to_come_back(house: Polyforge, pool: Pool) -> None:
    model = pool.solo()
    with OpenAI(base_url=f"{house.url}/v1", api_key=house.create_key(rpm=1).key, max_retries=0) as client:
        first = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
        error = refusal_of(client, model)
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert isinstance(error, openai.RateLimitError)
    assert error.code == "rate_limit_exceeded"
    assert 0 < float(error.response.headers["retry-after"]) <= 120
    assert error.response.headers.get("x-should-retry") != "false"


def test_what_the_upstream_refuses_as_wrong_reaches_the_caller(client: OpenAI, upstream: Upstream, pool: Pool) -> None:
    model = pool.solo()
    message = "Invalid schema for function 'weather'"
    upstream.script(model, Fail(400, message, "invalid_request_error", "invalid_function", "tools[0].function"))
    error = refusal_of(client, model)
    assert isinstance(error, openai.BadRequestError)
    assert (error.code, error.param) == ("invalid_function", "tools[0].function")
    assert message in error.message


@pytest.mark.parametrize("status", [401, 403, 500, 502, 503])
def test_what_is_wrong_between_us_and_the_upstream_is_not_the_callers_fault(
    client: OpenAI, upstream: Upstream, pool: Pool, status: int
) -> None:
    model = pool.solo()
    upstream.script(model, Fail(status, "Incorrect API key provided: sk-upst***", code="invalid_api_key"))
    error = refusal_of(client, model)
    assert isinstance(error, openai.InternalServerError)
    assert error.code != "invalid_api_key"


def test_rate_limited_upstream(client: OpenAI, upstream: Upstream, pool: Pool) -> None:
    model = pool.solo()
    upstream.script(model, Fail(429, headers={"retry-after": "7"}), Answer())
    error = refusal_of(client, model)
    assert isinstance(error, openai.RateLimitError)
    assert 6 <= float(error.response.headers["retry-after"]) <= 8


def test_errors_before_a_stream_begins_are_raised_as_such(client: OpenAI, upstream: Upstream, pool: Pool) -> None:
    model = pool.solo()
    upstream.script(model, Fail(500))
    assert isinstance(refusal_of(client, model, stream=True), openai.InternalServerError)


def test_what_is_not_built_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.vector_stores.list()
    assert raised.value.request_id
