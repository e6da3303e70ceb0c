"""Anthropic's answers, whole and streamed: what is read of them, and what its clients get to read."""

import json
import random
from collections.abc import Iterable
from typing import Any

import pytest

from polyforge.dialects.anthropic_messages import facts
from polyforge.dialects.anthropic_messages.replies import FINISHES, read_reply, write_reply
from polyforge.dialects.anthropic_messages.streams import EventReader, EventWriter
from polyforge.dialects.writing import Answering
from polyforge.kernel.chat import (
    ChatResult,
    Choice,
    Delta,
    Finish,
    Finished,
    Reasoning,
    ReasoningDelta,
    ReasoningEnd,
    Refusal,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    Used,
)
from polyforge.kernel.errors import PolyforgeError, Unavailable, UpstreamFailed
from polyforge.kernel.sse import EventSplitter, data_of
from polyforge.kernel.usage import Usage
from tests.support.scripted.anthropic import Anthropic
from tests.support.scripted.scenarios import SCENARIOS, Scenario

ANSWERING = Answering("01J0000000000000000000000A", "claude", 1)
SCRIPTED = Anthropic()
USED = Usage(input=5, cache_read=2, cache_write=3, output=9, reasoning=4)


def payloads(chunks: Iterable[bytes]) -> list[bytes]:
    """The data of each event."""
    splitter = EventSplitter()
    return [data for chunk in chunks for frame in splitter.feed(chunk) if (data := data_of(frame)) is not None]


def deltas_of(chunks: Iterable[bytes]) -> list[Delta]:
    """What a stream says, which must end."""
    reader = EventReader()
    found = read_all(reader, payloads(chunks))
    assert reader.ended
    return found


def read_all(reader: EventReader, events: Iterable[bytes]) -> list[Delta]:
    """What the events say."""
    return [delta for data in events for delta in reader.read(data)]


def gathered(deltas: Iterable[Delta]) -> ChatResult:  # noqa: C901 - one case for each kind
    """The answer that deltas come to: thoughts, then text, then calls."""
    text, thought, refusal = "", "", ""
    blocks: list[Any] = []
    calls: list[ToolCall] = []
    finish: Finish = "stop"
    usage = None
    for delta in deltas:
        match delta:
            case TextDelta():
                text += delta.text
            case RefusalDelta():
                refusal += delta.text
            case ReasoningDelta():
                thought += delta.text
            case ReasoningEnd():
                blocks.append(Reasoning(thought, delta.signature, delta.encrypted))
                thought = ""
            case ToolCallStart():
                assert delta.index == len(calls)
                calls.append(ToolCall(delta.id, delta.name, "", delta.signature))
            case ToolCallDelta():
                calls[delta.index].arguments += delta.arguments
            case Finished():
                finish = delta.finish
            case Used():
                usage = delta.usage
            case Started():
                assert not text
    blocks += [Text(text)] if text else []
    blocks += [Refusal(refusal)] if refusal else []
    return ChatResult(choices=[Choice(content=[*blocks, *calls], finish=finish)], usage=usage)


def plain(result: ChatResult) -> list[Any]:
    """Its blocks, with the arguments of calls read."""
    return [
        (block.id, block.name, json.loads(block.arguments or "{}")) if isinstance(block, ToolCall) else block
        for block in result.choices[0].content
    ]


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_a_stream_says_what_the_whole_answer_says(scenario: Scenario) -> None:
    whole = read_reply(b"".join(SCRIPTED.whole(scenario).chunks))
    streamed = gathered(deltas_of(SCRIPTED.stream(scenario).chunks))
    assert plain(streamed) == plain(whole)
    assert streamed.choices[0].finish == whole.choices[0].finish
    told = scenario.told
    assert streamed.usage == whole.usage
    assert whole.usage == Usage(told.input, told.cache_read, told.cache_write, told.output, told.reasoning)
    assert (whole.model, whole.id) == ("claude-scripted-2026", "msg_abc")


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_what_was_read_is_written_again(scenario: Scenario) -> None:
    whole = read_reply(b"".join(SCRIPTED.whole(scenario).chunks))
    again = read_reply(write_reply(whole, ANSWERING))
    assert plain(again) == plain(whole)
    assert (again.choices[0].finish, again.usage) == (whole.choices[0].finish, whole.usage)
    writer = EventWriter(ANSWERING)
    sent = [writer.write([delta]) for delta in deltas_of(SCRIPTED.stream(scenario).chunks)] + [writer.end(whole.usage)]
    streamed = gathered(deltas_of(sent))
    assert plain(streamed) == plain(whole)
    assert (streamed.choices[0].finish, streamed.usage) == (whole.choices[0].finish, whole.usage)


def test_chunk_borders_do_not_matter() -> None:
    raw = b"".join(SCRIPTED.stream(SCENARIOS["tools"]).chunks)
    for size in (1, 7, 64):
        cut = [raw[start : start + size] for start in range(0, len(raw), size)]
        assert deltas_of(cut) == deltas_of([raw])


@pytest.mark.parametrize("reason", [*FINISHES, "something_new"])
def test_every_stop_reason_ends_the_answer(reason: str) -> None:
    body = {"type": "message", "content": [{"type": "text", "text": "x"}], "stop_reason": reason}
    assert read_reply(json.dumps(body).encode()).choices[0].finish == FINISHES.get(reason, "stop")


def test_the_end_of_the_window_is_a_limit() -> None:
    assert FINISHES["model_context_window_exceeded"] == "length"


def test_a_refusal_without_words_tells_why() -> None:
    details = {"type": "refusal", "explanation": "Not this."}
    body = {"type": "message", "content": [], "stop_reason": "refusal", "stop_details": details}
    assert read_reply(json.dumps(body).encode()).choices[0].content == [Refusal("Not this.")]
    end = {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": details}, "usage": {}}
    reader = EventReader()
    reader.read(json.dumps(end).encode())
    assert RefusalDelta("Not this.") in reader.read(b'{"type":"message_stop"}')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"content":5}',
        b'{"content":[{"type":"tool_use","id":"a"}]}',
        b'{"content":[{"type":"tool_use","id":"a","name":"b","input":{"x":"\xff"}}]}',
        b'{"type":"error","error":{"type":"api_error","message":"x"}}',
        b"[" * 5000,
    ],
)
def test_an_answer_that_is_none_is_the_upstreams_failure(body: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        read_reply(body)


@pytest.mark.parametrize(
    "events",
    [
        [b"nonsense"],
        [b'{"type":5}'],
        [b'{"type":"message_stop"}'],
        [b'{"type":"message_delta","delta":{}}', b'{"type":"message_stop"}'],
        [b'{"type":"content_block_delta","index":3,"delta":{"partial_json":"{"}}'],
        [b'{"type":"content_block_start","index":0,"content_block":{"type":"tool_use"}}'],
        [b'{"type":"error","error":{"type":"api_error"}}'],
    ],
)
def test_a_stream_that_is_malformed_is_the_upstreams_failure(events: list[bytes]) -> None:
    reader = EventReader()
    with pytest.raises(UpstreamFailed):
        read_all(reader, events)
    assert not reader.ended


def test_a_stream_without_its_end_is_an_error_whatever_came() -> None:
    reader = EventReader()
    for data in payloads(SCRIPTED.stream(SCENARIOS["text"]).chunks[:-1]):
        reader.read(data)
    with pytest.raises(UpstreamFailed):
        reader.finish()
    with pytest.raises(Unavailable):
        deltas_of(SCRIPTED.error_in_stream(SCENARIOS["text"]).chunks)


def test_unknown_events_and_blocks_say_nothing() -> None:
    reader = EventReader()
    events: list[dict[str, Any]] = [
        {"type": "ping"},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "server_tool_use", "id": "s", "name": "w"},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "future_delta", "future": 1}},
        {"type": "content_block_stop", "index": 0},
        {"type": "from_the_future", "x": {"y": 1}},
    ]
    assert [delta for event in events for delta in reader.read(json.dumps(event).encode())] == []


def test_usage_in_a_stream_is_the_last_total() -> None:
    reader = EventReader()
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}
    reader.read(json.dumps(start).encode())
    for total in (5, 9):
        usage = {"output_tokens": total, "cache_read_input_tokens": 4}
        reader.read(
            json.dumps({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}).encode()
        )
    assert reader.read(b'{"type":"message_stop"}')[0] == Used(Usage(input=3, cache_read=4, output=9))


def events_of(sent: bytes) -> list[dict[str, Any]]:
    """The events in order; each one's name must be its type."""
    found: list[dict[str, Any]] = []
    for frame in sent.decode().split("\n\n")[:-1]:
        name, data = frame.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_a_stream_is_written_in_anthropics_order() -> None:
    deltas: list[Delta] = [
        Started("gpt", "x"),
        ReasoningDelta("hm"),
        ReasoningEnd("sig"),
        ReasoningEnd(encrypted="sealed"),
        TextDelta("Let me"),
        TextDelta(" see."),
        ToolCallStart(0, "call_a", "look", "gemini-signature"),
        ToolCallDelta(0, '{"a":'),
        ToolCallDelta(0, "1}"),
        ToolCallStart(1, "call_b", "now"),
        Finished("tool_calls"),
    ]
    writer = EventWriter(ANSWERING)
    events = events_of(writer.write(deltas) + writer.end(USED))
    assert [event["type"].removeprefix("content_block_") for event in events] == [
        "message_start",
        *("start", "delta", "delta", "stop"),
        *("start", "stop"),
        *("start", "delta", "delta", "stop"),
        *("start", "delta", "delta", "stop"),
        *("start", "delta", "stop"),
        "message_delta",
        "message_stop",
    ]
    starts = [event for event in events if event["type"] == "content_block_start"]
    assert [event["index"] for event in starts] == [0, 1, 2, 3, 4]
    assert events[0]["message"]["id"] == f"msg_{ANSWERING.id}"
    assert starts[3]["content_block"]["thought_signature"] == "gemini-signature"
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert events[-2]["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 2,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
    }


def test_an_answer_that_says_nothing_is_a_message_all_the_same() -> None:
    events = events_of(EventWriter(ANSWERING).end(None))
    assert [event["type"] for event in events] == ["message_start", "message_delta", "message_stop"]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], {}),
        ([" ", '{"a"', ":1}"], {"a": 1}),
        (["no", " json"], {"arguments": "no json"}),
        (["[1,", "2]"], {"arguments": "[1,2]"}),
    ],
)
def test_arguments_that_are_no_object_reach_clients_as_one(pieces: list[str], expected: object) -> None:
    writer = EventWriter(ANSWERING)
    calls: list[Delta] = [ToolCallStart(0, "a", "f"), *(ToolCallDelta(0, piece) for piece in pieces)]
    sent = writer.write([*calls, Finished("tool_calls")]) + writer.end(USED)
    (call,) = gathered(deltas_of([sent])).choices[0].content
    assert isinstance(call, ToolCall)
    assert json.loads(call.arguments or "{}") == expected


def test_calls_whose_pieces_come_mixed_stay_apart() -> None:
    writer = EventWriter(ANSWERING)
    mixed: list[Delta] = [
        ToolCallStart(0, "a", "f"),
        ToolCallDelta(0, '{"x"'),
        ToolCallStart(1, "b", "g"),
        ToolCallDelta(1, "{"),
        ToolCallDelta(0, ":1}"),
        ToolCallDelta(1, "}"),
        Finished("tool_calls"),
    ]
    result = gathered(deltas_of([writer.write(mixed) + writer.end(USED)]))
    assert plain(result) == [("a", "f", {"x": 1}), ("b", "g", {})]


def test_what_was_written_is_read_again_whatever_it_was() -> None:
    chance = random.Random(7)
    for _ in range(300):
        deltas = list(invented(chance))
        writer = EventWriter(ANSWERING)
        sent = b"".join(writer.write([delta]) for delta in deltas) + writer.end(USED)
        found, wanted = gathered(deltas_of([sent])), gathered([*deltas, Used(USED)])
        assert plain(found) == plain(wanted)
        assert (found.choices[0].finish, found.usage) == (wanted.choices[0].finish, USED)


def invented(chance: random.Random) -> Iterable[Delta]:
    """A stream as a provider might send it."""
    calls = 0
    yield Started()
    for _ in range(chance.randrange(6)):
        words = ["".join(chance.choices('aü"\n\\ 👋', k=chance.randrange(1, 5))) for _ in range(chance.randrange(1, 4))]
        kind = chance.randrange(3)
        if kind == 0:
            yield from (ReasoningDelta(word) for word in words)
            yield ReasoningEnd("c2ln")
        elif kind == 1:
            yield from (TextDelta(word) for word in words)
        else:
            yield ToolCallStart(calls, f"call_{calls}", "f")
            text = json.dumps({"words": words}, ensure_ascii=False)
            yield from (ToolCallDelta(calls, text[start : start + 3]) for start in range(0, len(text), 3))
            calls += 1
    yield Finished(chance.choice(["stop", "length", "tool_calls", "refusal", "pause"]))


def test_a_message_of_unsigned_thoughts_and_refusals_can_be_read() -> None:
    content: list[Any] = [Reasoning("hm"), Refusal("No."), ToolCall("a", "f", "", "gem")]
    result = ChatResult(choices=[Choice(content=content, finish="content_filter", stop_sequence="END")])
    written = json.loads(write_reply(result, ANSWERING))
    assert written["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "No."},
        {"type": "tool_use", "id": "a", "name": "f", "thought_signature": "gem", "input": {}},
    ]
    assert (written["stop_reason"], written["stop_sequence"]) == ("refusal", "END")
    assert written["usage"]["output_tokens"] == 0


def test_facts_of_answers_that_pass() -> None:
    found = facts.read_reply(b"".join(SCRIPTED.whole(SCENARIOS["cached"]).chunks))
    assert (found.usage, found.finish, found.error) == (Usage(5, 1000, 0, 2, 0), "end_turn", False)
    assert facts.read_reply(b'{"type":"error"}').error
    event = facts.read_event(b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"abc"}}')
    assert (event.content, event.size) == (True, 3)
    assert not facts.read_event(b'{"type":"content_block_start","content_block":{"type":"text","text":""}}').content
    assert facts.read_event(b'{"type":"content_block_start","content_block":{"type":"tool_use"}}').content
    assert json.loads(facts.write_count(7)) == {"input_tokens": 7}


def is_read(data: bytes) -> bool:
    """Whether an event says something, and is not refused."""
    try:
        EventReader().read(data)
    except PolyforgeError:
        return False
    return True


def test_answers_that_are_malformed_never_crash() -> None:
    chance = random.Random(11)
    raw = payloads(SCRIPTED.stream(SCENARIOS["thinking"]).chunks) + payloads(SCRIPTED.stream(SCENARIOS["tools"]).chunks)
    refused = 0
    for _ in range(2000):
        data = bytearray(chance.choice(raw))
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        refused += not is_read(bytes(data))
    assert 500 < refused < 2000
