"""Bytes that need no change are not changed, and nothing of the caller's leaks upstream."""

import json

import pytest

from tests.support.behaviours import Answer
from tests.support.clients import chat
from tests.support.server import Key, Polyforge
from tests.support.settings import UPSTREAM_KEY, Pool
from tests.support.upstream import Upstream

CHAT = "/v1/chat/completions"
ODDITIES = (
    b'"x_number":1.10,"x_big":123456789012345678901234567890,"x_text":"caf\\u00e9 \xe2\x82\xac \\ud83d\\ude00",'
    b'"x_deep":{"b":[{"a":null}],"a":{}},"x_exponent":1e400'
)


@pytest.fixture
def key(house: Polyforge) -> Key:
    return house.create_key()


def test_a_body_that_needs_no_change_arrives_byte_for_byte(
    house: Polyforge, upstream: Upstream, pool: Pool, key: Key
) -> None:
    model = pool.solo()
    body = b'{ "messages" : [{"role":"user","content":"hi"}],\n\t' + ODDITIES + b', "model": "%b" }' % model.encode()
    assert house.call(CHAT, key=key.key, body=body).status == 200
    (request,) = upstream.wait_for(model)
    assert request.body == body
    assert request.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize("stream", [b"true", b"false"])
def test_unknown_fields_survive_a_change_byte_for_byte(
    house: Polyforge, upstream: Upstream, key: Key, stream: bytes
) -> None:
    body = b'{"model":"renamed","messages":[{"role":"user","content":"hi","x_inner":2.50}],"stream":%b,' % stream
    assert house.call(CHAT, key=key.key, body=body + ODDITIES + b"}").status == 200
    request = upstream.wait_for("gpt-upstream")[-1]
    assert request.json["model"] == "gpt-upstream"
    assert b'"x_inner":2.50' in request.body
    for field in ODDITIES.split(b',"'):
        assert field.lstrip(b'"') in request.body


def test_other_stream_options_survive(house: Polyforge, upstream: Upstream, pool: Pool, key: Key) -> None:
    model = pool.solo()
    options = {"include_obfuscation": False, "include_usage": False, "x_new": [1]}
    house.call(CHAT, key=key.key, json=chat(model, stream=True, stream_options=options))
    (request,) = upstream.wait_for(model)
    assert request.json["stream_options"] == {**options, "include_usage": True}


def test_an_answer_arrives_byte_for_byte(house: Polyforge, upstream: Upstream, pool: Pool, key: Key) -> None:
    model = pool.solo()
    choice = b'{"index":0,"message":{"role":"assistant","content":"h\\u00e9"},"finish_reason":"stop"}'
    usage = b'{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6,"x_future":{"a":1}}'
    exact = b'{ "id":"c","object":"chat.completion","choices":[%b],"usage":%b,%b }' % (choice, usage, ODDITIES)
    upstream.script(model, Answer(exact=exact))
    response = house.call(CHAT, key=key.key, json=chat(model))
    assert (response.status, response.body) == (200, exact)
    assert response.headers["content-type"].startswith("application/json")


def test_stream_events_arrive_as_they_were_sent(house: Polyforge, upstream: Upstream, pool: Pool, key: Key) -> None:
    model = pool.solo()
    upstream.script(model, Answer(extra={"service_tier": "default", "x_new": {"deep": 1.5}, "obfuscation": "a8f"}))
    response = house.call(CHAT, key=key.key, json=chat(model, stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert all(chunk["x_new"] == {"deep": 1.5} and chunk["obfuscation"] == "a8f" for chunk in response.chunks)
    assert response.events[-1] == "[DONE]"
    assert response.events.count("[DONE]") == 1


def test_upstream_sees_the_providers_key_and_nothing_of_the_caller(
    house: Polyforge, upstream: Upstream, pool: Pool, key: Key
) -> None:
    model = pool.solo()
    private = {"cookie": "session=secret", "x-forwarded-for": "10.9.8.7", "x-internal": "hidden"}
    house.call(CHAT, key=key.key, json=chat(model), headers=private)
    (request,) = upstream.wait_for(model)
    assert request.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    told = json.dumps(request.all_headers)
    assert not [secret for secret in (key.key, "session=secret", "10.9.8.7", "hidden") if secret in told]


def test_nothing_secret_is_told_or_written(house: Polyforge, upstream: Upstream, pool: Pool, key: Key) -> None:
    response = house.call(CHAT, key=key.key, json=chat(pool.solo(), "my private question"))
    assert response.status == 200
    for secret in (UPSTREAM_KEY, key.key, house.admin_key, "my private question"):
        assert secret not in house.log
        assert secret not in str(response.headers)


def test_the_body_limit_of_a_large_conversation(house: Polyforge, upstream: Upstream, pool: Pool, key: Key) -> None:
    model = pool.solo()
    body = json.dumps(chat(model, "A" * 5_000_000)).encode()
    assert house.call(CHAT, key=key.key, body=body).status == 200
    assert upstream.wait_for(model)[0].json == json.loads(body)
