"""What is read from Bedrock: whole, in events, and when it is broken or new."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.dialects.aws_errors import decode_error
from polyforge.dialects.bedrock_converse.replies import read_reply
from polyforge.dialects.bedrock_converse.streams import EventReader
from polyforge.dialects.openai_chat.streams import ChunkReader
from polyforge.kernel.chat import (
    Delta,
    Finished,
    Reasoning,
    ReasoningDelta,
    ReasoningEnd,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    Used,
)
from polyforge.kernel.errors import (
    PolyforgeError,
    QuotaSpent,
    RateLimited,
    TimedOut,
    Unavailable,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamRefused,
)
from polyforge.kernel.usage import Usage
from polyforge.upstreams.aws_streams import EventPayloads, StreamInEvents
from polyforge.upstreams.refusals import refusal
from polyforge.upstreams.streams import CanonicalStream
from tests.support.scripted.eventstream import event, exception, message

USAGE = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}


def whole(content: list[Any], reason: str = "end_turn", **more: Any) -> bytes:
    fields = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": reason, "usage": USAGE}
    return json.dumps({**fields, **more}).encode()


def test_every_kind_of_block() -> None:
    content = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "c2VhbGVk"}},
        {"reasoningContent": {"something": "new"}},
        {"text": "Hello"},
        {"text": ""},
        {"citationsContent": {"content": [{"text": " cited"}], "citations": [{"title": "t"}]}},
        {"toolUse": {"toolUseId": "a", "name": "f", "input": {"x": [1.0, "ü"]}}},
        {"toolUse": {"toolUseId": "b", "name": "g"}},
        {"hologram": {}},
    ]
    result = read_reply(whole(content, "tool_use"))
    assert result.choices[0].content == [
        Reasoning("hm", "c2ln"),
        Reasoning(encrypted="c2VhbGVk"),
        Text("Hello"),
        Text(" cited"),
        ToolCall("a", "f", '{"x": [1.0, "\\u00fc"]}'),
        ToolCall("b", "g", "{}"),
    ]
    assert result.choices[0].finish == "tool_calls"
    assert result.usage == Usage(input=3, output=4)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop_sequence"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_why_it_ended(reason: str, finish: str) -> None:
    assert read_reply(whole([{"text": "x"}], reason)).choices[0].finish == finish


def test_a_call_ends_the_answer_even_where_the_provider_says_otherwise() -> None:
    call = {"toolUse": {"toolUseId": "b", "name": "g", "input": {}}}
    assert read_reply(whole([call], "end_turn")).choices[0].finish == "tool_calls"


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_what_the_model_got_wrong_is_a_failure_whole_and_streamed(reason: str) -> None:
    with pytest.raises(UpstreamFailed, match=reason):
        read_reply(whole([{"text": "x"}], reason))
    with pytest.raises(UpstreamFailed, match=reason):
        deltas(("messageStop", {"stopReason": reason}))


def test_usage_with_cached_tokens_is_read_as_it_stands() -> None:
    usage = {**USAGE, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 10, "totalTokens": 117}
    read = read_reply(whole([], usage=usage)).usage
    assert read == Usage(input=3, cache_read=100, cache_write=10, output=4)
    assert read is not None
    assert read.total == 117
    assert read_reply(whole([], usage={**USAGE, "inputTokens": -1})).usage is None
    assert read_reply(whole([], usage=None)).usage is None


NO_TEXT = whole([{"toolUse": {"toolUseId": "a", "name": "f", "input": {"x": "?"}}}]).replace(b"?", b"\xff")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"output":{}}',
        whole([{"text": 1}]),
        whole([{"toolUse": {"name": "f"}}]),
        b"\xff",
        NO_TEXT,
    ],
)
def test_what_is_no_answer_is_a_failure(body: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        read_reply(body)


# --- streams ---


def read(*chunks: bytes) -> list[Delta]:
    stream = CanonicalStream(EventReader(), EventPayloads())
    found = [one for chunk in chunks for one in stream.feed(chunk)]
    if stream.failure is not None:
        raise stream.failure
    found += [] if stream.ended else stream.finish()
    assert stream.ended
    return [delta for one in found for delta in one.deltas]


def written(*events: tuple[str, Any]) -> list[bytes]:
    return [event(name, json.dumps(fields).encode()) for name, fields in events]


def deltas(*events: tuple[str, Any]) -> list[Delta]:
    return read(*written(*events))


def piece(block: int, **delta: Any) -> tuple[str, Any]:
    return "contentBlockDelta", {"contentBlockIndex": block, "delta": delta}


def begin(block: int, id_: str) -> tuple[str, Any]:
    return "contentBlockStart", {"contentBlockIndex": block, "start": {"toolUse": {"toolUseId": id_, "name": "f"}}}


def stop(block: int) -> tuple[str, Any]:
    return "contentBlockStop", {"contentBlockIndex": block}


END = ("messageStop", {"stopReason": "end_turn"})
TOLD = ("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}})


def test_a_stream_of_every_kind_of_block() -> None:
    assert deltas(
        ("messageStart", {"role": "assistant"}),
        piece(0, reasoningContent={"text": "h"}),
        piece(0, reasoningContent={"text": "m"}),
        piece(0, reasoningContent={"signature": "c2"}),
        piece(0, reasoningContent={"signature": "ln"}),
        stop(0),
        piece(1, reasoningContent={"redactedContent": "c2VhbGVk"}),
        stop(1),
        piece(2, text="Hello"),
        piece(2, text=""),
        piece(2, citation={"title": "t"}),
        stop(2),
        begin(5, "a"),
        piece(5, toolUse={"input": ""}),
        piece(5, toolUse={"input": '{"x"'}),
        piece(5, toolUse={"input": ":1}"}),
        stop(5),
        begin(7, "b"),
        stop(7),
        ("contentBlockStart", {"contentBlockIndex": 8, "start": {"image": {"format": "png"}}}),
        ("somethingNew", {"x": 1}),
        END,
        TOLD,
    ) == [
        Started(),
        ReasoningDelta("h"),
        ReasoningDelta("m"),
        ReasoningEnd(signature="c2ln"),
        ReasoningEnd(encrypted="c2VhbGVk"),
        TextDelta("Hello"),
        ToolCallStart(0, "a", "f"),
        ToolCallDelta(0, '{"x"'),
        ToolCallDelta(0, ":1}"),
        ToolCallStart(1, "b", "f"),
        Finished("tool_calls"),
        Used(Usage(input=3, output=4)),
    ]


def test_a_thought_that_nobody_ended_ends_with_the_message() -> None:
    assert deltas(piece(0, reasoningContent={"text": "h"}), END)[1:] == [ReasoningEnd(), Finished("stop")]


def test_a_stream_may_end_without_usage() -> None:
    assert deltas(piece(0, text="a"), END) == [TextDelta("a"), Finished("stop")]


def test_a_stream_that_broke_off_is_a_failure() -> None:
    for events in ([piece(0, text="a")], [piece(0, text="a"), TOLD], []):
        with pytest.raises(UpstreamFailed, match="broke off"):
            deltas(*events)


@pytest.mark.parametrize(
    "events",
    [
        [piece(0, toolUse={"input": "{}"})],
        [begin(0, "a"), begin(0, "b")],
        [END, END],
        [("contentBlockDelta", {"delta": {"text": "a"}})],
        [("contentBlockDelta", [])],
        [("messageStop", {})],
    ],
)
def test_events_that_make_no_sense_are_a_failure(events: list[tuple[str, Any]]) -> None:
    with pytest.raises(UpstreamFailed):
        deltas(*events)


@pytest.mark.parametrize("data", [b"HTTP/1.1 500 no such thing at all", event("messageStop", b"{"), b"\x00" * 32])
def test_what_is_no_event_stream_is_a_failure(data: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        read(data)


EXCEPTIONS: list[tuple[str, type[PolyforgeError], int]] = [
    ("throttlingException", RateLimited, 429),
    ("serviceUnavailableException", Unavailable, 503),
    ("internalServerException", UpstreamFailed, 502),
    ("modelStreamErrorException", UpstreamFailed, 502),
    ("modelTimeoutException", TimedOut, 504),
    ("validationException", UpstreamRefused, 400),
    ("newException", UpstreamFailed, 502),
]


@pytest.mark.parametrize(("name", "error", "status"), EXCEPTIONS)
def test_an_exception_in_a_stream_keeps_its_meaning(name: str, error: type[PolyforgeError], status: int) -> None:
    with pytest.raises(error, match="sorry") as raised:
        read(*written(piece(0, text="a")), exception(name, b'{"message":"sorry"}'))
    assert type(raised.value) is error
    assert raised.value.status == status


def test_an_error_that_the_service_has_no_name_for_is_a_failure() -> None:
    headers = {":message-type": "error", ":error-code": "InternalError", ":error-message": "sorry"}
    with pytest.raises(UpstreamFailed, match="sorry"):
        read(message(headers, b""))


@given(st.lists(st.text(min_size=1), max_size=5))
def test_pieces_together_are_the_text(pieces: list[str]) -> None:
    found = deltas(*[piece(0, text=text) for text in pieces], END)
    assert "".join([delta.text for delta in found if isinstance(delta, TextDelta)]) == "".join(pieces)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.integers(1, 30))
def test_another_stream_in_pieces_is_put_together(texts: list[str], size: int) -> None:
    pieces: list[dict[str, Any]] = [{"index": 0, "delta": {"content": text}} for text in texts]
    pieces.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    data = b"".join([b"data: " + json.dumps({"choices": [one]}).encode() + b"\n\n" for one in pieces])
    stream = StreamInEvents(CanonicalStream(ChunkReader()), "PayloadPart")
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    found = [one for part in parts for one in stream.feed(event("PayloadPart", part, "application/octet-stream"))]
    found += stream.finish()
    assert stream.ended
    assert [delta.text for one in found for delta in one.deltas if isinstance(delta, TextDelta)] == texts


# --- errors ---


@pytest.mark.parametrize(
    ("status", "name", "body", "error", "expected"),
    [
        (429, "ThrottlingException:http://x/", {"message": "Too many tokens, please wait"}, RateLimited, 429),
        (429, "ThrottlingException", {"message": "Too many tokens per day, please wait"}, QuotaSpent, 429),
        (400, "ThrottlingException", {"message": "slow"}, RateLimited, 429),
        (400, "ServiceQuotaExceededException", {"message": "full"}, QuotaSpent, 429),
        (429, "ModelNotReadyException", {"message": "loading"}, Unavailable, 503),
        (408, "ModelTimeoutException", {"message": "slow"}, TimedOut, 504),
        (424, "ModelErrorException", {"message": "oops", "originalStatusCode": 500}, UpstreamFailed, 502),
        (403, "AccessDeniedException", {"Message": "no"}, UpstreamDenied, 502),
        (403, None, {"message": "The security token included in the request is expired"}, UpstreamDenied, 502),
        (400, None, {"__type": "com.amazon#ValidationException", "message": "bad"}, UpstreamRefused, 400),
        (400, "ValidationException", {"message": "The provided model identifier is invalid."}, UpstreamRefused, 404),
        (404, "ResourceNotFoundException", {"message": "no model"}, UpstreamRefused, 404),
        (500, None, {}, UpstreamFailed, 502),
        (530, "InternalDependencyException", {"Message": "x"}, UpstreamFailed, 502),
        (424, "ModelError", {"OriginalStatusCode": 422, "OriginalMessage": "bad field"}, UpstreamRefused, 422),
        (424, "ModelError", {"OriginalStatusCode": 503, "OriginalMessage": "down"}, UpstreamFailed, 502),
    ],
)
def test_refusals(
    status: int, name: str | None, body: dict[str, Any], error: type[PolyforgeError], expected: int
) -> None:
    found = refusal(status, decode_error(json.dumps(body).encode(), name), None, brought=False)
    assert type(found) is error
    assert found.status == expected


@pytest.mark.parametrize(
    "text",
    [
        "Input is too long for requested model.",
        "The model returned the following errors: prompt is too long: 200049 tokens > 200000 maximum",
        "This model's maximum context length is 8192 tokens.",
        "The model returned the following errors: Input Tokens Exceeded: Number of input tokens exceeds maximum length",
    ],
)
def test_a_context_overflow_is_told_from_other_mistakes(text: str) -> None:
    said = decode_error(json.dumps({"message": text}).encode(), "ValidationException")
    assert said.cause == "context"
    assert refusal(400, said, None, brought=False).code == "context_length_exceeded"


def test_what_a_container_said_is_read_out_of_its_envelope() -> None:
    inner = {"error": {"message": "too many tokens", "code": "context_length_exceeded", "param": "messages"}}
    body = {"OriginalStatusCode": 400, "OriginalMessage": json.dumps(inner), "Message": "outer"}
    said = decode_error(json.dumps(body).encode(), "ModelError")
    assert (said.message, said.cause, said.param, said.status) == ("too many tokens", "context", "messages", 400)


@given(st.binary(max_size=200))
def test_noise_is_no_error_of_ours(noise: bytes) -> None:
    assert decode_error(noise, "Whatever").status is None
