"""OpenAI's dialect: what is read, what survives, and what a wrong field is called."""

import base64
import json
import struct

import msgspec
import pytest

from polyforge.dialects import openai_embeddings
from polyforge.dialects.openai_chat import facts as openai_chat
from polyforge.dialects.openai_errors import decode_error, encode_error, status_of
from polyforge.kernel.errors import BudgetSpent, Invalid, UpstreamRefused
from polyforge.kernel.tasks import EmbeddingResult
from polyforge.kernel.usage import Usage


def body(**fields: object) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


def test_what_routing_limits_and_metering_need_is_read() -> None:
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]},
    ]
    request = openai_chat.decode_chat(
        body(
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
            n=2,
            max_completion_tokens=9,
            tools=[{}],
        )
    )
    assert (request.stream, request.wants_usage, request.choices, request.output_limit) == (True, True, 2, 9)
    assert (request.parts, request.images) == (3 + 1 + 1 + 2, 1)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 1}, "model"),
        ({"model": ""}, "model"),
        ({"model": "a\nb"}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], param: str) -> None:
    with pytest.raises(Invalid) as refused:
        openai_chat.decode_chat(body(**fields))
    assert refused.value.param == param


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"nul", b'{"model":"\xff"}', b'{"a":' + b"[" * 50_000, b'{"n":NaN}'])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(Invalid):
        openai_chat.decode_chat(raw)


def test_unknown_fields_survive_byte_for_byte() -> None:
    raw = b'{"model":"m", "messages":[{"role":"user","content":"\\u00e9  x"}],"odd":{"b":1.0,"a":[1e3]},"stream":true}'
    sent = openai_chat.rewrite(raw, model="other", include_usage=True, limit=("max_tokens", 5))
    assert b'[{"role":"user","content":"\\u00e9  x"}]' in sent
    assert b'{"b":1.0,"a":[1e3]}' in sent
    read = json.loads(sent)
    assert (read["model"], read["stream_options"], read["max_tokens"]) == ("other", {"include_usage": True}, 5)


def test_a_body_that_needs_no_change_stays_as_it_is() -> None:
    raw = b'{ "model" : "m","messages":[ {"role":"user","content":"x"} ] }'
    assert openai_chat.rewrite(raw, model="m") is raw


@pytest.mark.parametrize("again", [b'"model":"m"', b'"\\u006dodel":"m"', b'"max_tokens":1'])
def test_a_field_that_stands_twice_is_sent_once(again: bytes) -> None:
    raw = b'{"max_tokens":9,"model":"x","messages":[{"role":"user"}],' + again + b"}"
    sent = openai_chat.rewrite(raw, model="m")
    pairs = json.loads(sent, object_pairs_hook=list)
    assert len({name for name, _ in pairs}) == len(pairs) == 3
    assert json.loads(sent)["model"] == "m"


def test_other_stream_options_are_kept() -> None:
    raw = body(stream=True, stream_options={"include_obfuscation": False})
    read = json.loads(openai_chat.rewrite(raw, model="m", include_usage=True))
    assert read["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_usage_is_canonical() -> None:
    facts = openai_chat.read_reply(
        b'{"choices":[{"finish_reason":"length"}],"usage":{"prompt_tokens":100,"completion_tokens":7,'
        b'"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":10},'
        b'"completion_tokens_details":{"reasoning_tokens":3}}}'
    )
    assert facts.usage == Usage(input=30, cache_read=60, cache_write=10, output=7, reasoning=3)
    assert facts.usage is not None
    assert facts.usage.input_total == 100
    assert facts.finish == "length"


@pytest.mark.parametrize(
    ("told", "output"),
    [
        ({"completion_tokens": 9, "total_tokens": 41}, 9),
        ({"completion_tokens": 9}, 9),
        ({"completion_tokens": 9, "total_tokens": 48}, 16),
        ({"completion_tokens": 2, "total_tokens": 41}, 9),
        ({"completion_tokens": 2}, 9),
    ],
)
def test_thoughts_that_are_counted_apart_are_output_too(told: dict[str, int], output: int) -> None:
    usage = {"prompt_tokens": 32, **told, "completion_tokens_details": {"reasoning_tokens": 7}}
    facts = openai_chat.read_reply(json.dumps({"choices": [{"finish_reason": "stop"}], "usage": usage}).encode())
    assert facts.usage == Usage(input=32, output=output, reasoning=7)


@pytest.mark.parametrize(
    ("told", "cached"),
    [
        ({"prompt_cache_hit_tokens": 30, "prompt_cache_miss_tokens": 2}, 30),
        ({"cached_tokens": 12}, 12),
        ({"prompt_cache_hit_tokens": 30, "prompt_tokens_details": {"cached_tokens": 7}}, 7),
        ({"prompt_cache_hit_tokens": 30, "prompt_tokens_details": {"cached_tokens": 0}}, 0),
        ({"prompt_cache_hit_tokens": 30, "prompt_tokens_details": {}}, 30),
    ],
)
def test_what_came_from_the_cache_has_several_names(told: dict[str, object], cached: int) -> None:
    usage = {"prompt_tokens": 32, "completion_tokens": 1, **told}
    facts = openai_chat.read_reply(json.dumps({"choices": [{"finish_reason": "stop"}], "usage": usage}).encode())
    assert facts.usage == Usage(input=32 - cached, cache_read=cached, output=1)


@pytest.mark.parametrize("tokens", [-1, 10**30])
def test_usage_that_cannot_be_is_not_believed(tokens: int) -> None:
    told = b'{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":%d}}' % tokens
    assert openai_chat.read_reply(told).usage is None
    counted = b'{"data":[],"usage":{"prompt_tokens":%d,"total_tokens":1}}' % tokens
    assert openai_embeddings.read_usage(counted) is None


@pytest.mark.parametrize(
    ("chunk", "content", "finish"),
    [
        ({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}, False, None),
        ({"choices": [{"index": 0, "delta": {"content": "x"}}]}, True, None),
        ({"choices": [{"index": 0, "delta": {"reasoning_content": "x"}}]}, True, None),
        ({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}}]}, True, None),
        ({"choices": [{"index": 0, "delta": {"tool_calls": None, "content": None}}]}, False, None),
        ({"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]}, True, "stop"),
        ({"choices": []}, False, None),
    ],
)
def test_content_is_what_a_reader_would_see(chunk: object, content: bool, finish: str | None) -> None:
    facts = openai_chat.read_chunk(json.dumps(chunk).encode())
    assert (facts.content, facts.finish, facts.error) == (content, finish, None)


def test_an_error_inside_a_stream_is_seen() -> None:
    facts = openai_chat.read_chunk(b'{"error":{"message":"overloaded"}}')
    assert facts.error is not None
    assert decode_error(facts.error).message == "overloaded"


@pytest.mark.parametrize("given", ["x", ["x", "y"], [1, 2], [[1], [2]]])
def test_embedding_inputs(given: object) -> None:
    request = openai_embeddings.decode_embeddings(json.dumps({"model": "m", "input": given}).encode())
    assert request.inputs in (["x"], ["x", "y"], [[1, 2]], [[1], [2]])


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("", "input"),
        ([], "input"),
        (["a", ""], "input[1]"),
        (["a", 1], "input[1]"),
        ([[1], []], "input[1]"),
        ([None], "input[0]"),
        ([[-1]], "input[0]"),
    ],
)
def test_a_wrong_embedding_input_is_named(given: object, param: str) -> None:
    with pytest.raises(Invalid) as refused:
        openai_embeddings.decode_embeddings(json.dumps({"model": "m", "input": given}).encode())
    assert refused.value.param == param


def test_vectors_as_numbers_and_as_base64() -> None:
    result = EmbeddingResult(struct.pack("<4f", 1, 2, 3, 4), 2, 2, Usage(input=5))
    plain = json.loads(openai_embeddings.encode_embeddings(result, "m", "float"))
    assert [item["embedding"] for item in plain["data"]] == [[1, 2], [3, 4]]
    assert plain["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    packed = json.loads(openai_embeddings.encode_embeddings(result, "m", "base64"))
    assert base64.b64decode(packed["data"][1]["embedding"]) == struct.pack("<2f", 3, 4)


def test_vectors_are_read_in_the_order_of_their_texts() -> None:
    found = openai_embeddings.read_vectors(
        b'{"data": [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1, 2]}], "model": "m"}'
    )
    assert (bytes(found.data), found.rows, found.dimensions) == (struct.pack("<4f", 1, 2, 3, 4), 2, 2)


@pytest.mark.parametrize("rows", [[], [[1], [1, 2]], ["AAAA"]])
def test_vectors_that_cannot_be_compared_are_no_answer(rows: list[object]) -> None:
    items = [{"index": place, "embedding": row} for place, row in enumerate(rows)]
    with pytest.raises(ValueError, match=r"vectors|embedding"):
        openai_embeddings.read_vectors(json.dumps({"data": items}).encode())


def test_errors_read_as_openai_clients_expect() -> None:
    error = BudgetSpent("spent")
    assert msgspec.json.decode(encode_error(error)) == {
        "error": {"message": "spent", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}
    }
    assert status_of(error) == 429


def test_a_context_overflow_is_told_in_openais_words() -> None:
    error = UpstreamRefused("prompt is too long: 2 > 1", status=400, code="context_length_exceeded")
    told = msgspec.json.decode(encode_error(error))["error"]
    assert told["message"] == "Input tokens exceed the configured limit: prompt is too long: 2 > 1"
    own = UpstreamRefused("Input tokens exceed the configured limit of 9 tokens.", status=400, code=told["code"])
    assert msgspec.json.decode(encode_error(own))["error"]["message"] == own.message


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        "the request exceeds the available context size, try increasing it",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000",
        "Your input exceeds the context window of this model.",
    ],
)
def test_servers_without_a_code_for_it_say_that_the_input_is_too_long(message: str) -> None:
    body = {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}
    assert decode_error(json.dumps(body).encode()).cause == "context"


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html>", b"[]", b'{"error":"x"}', b'{"error":{"message":1}}', b'{"message":"x"}', b'{"error":"\xff"}'],
)
def test_any_error_body_can_be_read(raw: bytes) -> None:
    assert decode_error(raw).message in ("", "x")
