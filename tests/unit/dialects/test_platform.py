"""The platform's own dialect: what it takes, what it refuses, what it answers, whole and in events."""

import json
from typing import Any

import msgspec
import pytest

from polyforge.dialects.platform.replies import EventWriter, late_error, write_chat, write_completion
from polyforge.dialects.platform.requests import decode_chat, decode_completion, read_chat, read_completion
from polyforge.dialects.writing import Answering, ChargedWriter
from polyforge.kernel.chat import (
    Block,
    ChatResult,
    Choice,
    Delta,
    File,
    Finished,
    Image,
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
    ToolResult,
)
from polyforge.kernel.errors import Invalid
from polyforge.kernel.usage import Usage

ANSWERING = Answering("01J", "assistant", 0)
HELLO = {"model": "assistant", "messages": [{"role": "user", "content": "Hello"}]}


def body(**fields: Any) -> bytes:
    return json.dumps({**HELLO, **fields}).encode()


def said(*messages: Any) -> bytes:
    return body(messages=list(messages))


def result(*content: Block, usage: Usage | None = None) -> ChatResult:
    return ChatResult(choices=[Choice(content=list(content), finish="stop")], usage=usage)


def events(data: bytes) -> list[tuple[str, Any]]:
    """Name and payload of each event; every event has exactly these two lines."""
    *whole, rest = data.decode().split("\n\n")
    assert rest == ""
    pairs = [event.split("\n") for event in whole]
    return [(name.removeprefix("event: "), json.loads(payload.removeprefix("data: "))) for name, payload in pairs]


def test_what_routing_needs_is_read() -> None:
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image", "url": "https://pictures.test/1"}]
    request = decode_chat(
        body(
            messages=[{"role": "user", "content": parts}],
            tools=[{"name": "look"}],
            response_schema={"type": "object"},
            max_output_tokens=50,
            stream=True,
        )
    )
    assert (request.dialect, request.model, request.stream, request.output_limit) == ("platform", "assistant", True, 50)
    assert (request.images, request.tools, request.structured) == (1, True, True)
    assert request.parts >= 4


def test_everything_is_read_into_the_canonical_form() -> None:
    chat = read_chat(
        body(
            system="Be brief.",
            tools=[{"name": "look", "description": "Looks.", "parameters": {"type": "object"}}],
            tool_choice={"name": "look"},
            response_schema={"type": "object"},
            reasoning_effort="low",
            temperature=0.5,
            top_p=0.9,
            stop=["END"],
            seed=7,
        )
    )
    assert [(message.role, message.content) for message in chat.messages] == [
        ("system", [Text("Be brief.")]),
        ("user", [Text("Hello")]),
    ]
    assert (chat.tools[0].name, bytes(chat.tools[0].parameters or b"")) == ("look", b'{"type": "object"}')
    assert chat.tool_choice is not None
    assert chat.tool_choice.name == "look"
    assert chat.output_format is not None
    assert bytes(chat.output_format.schema or b"") == b'{"type": "object"}'
    assert chat.thinking is not None
    assert chat.thinking.effort == "low"
    assert (chat.temperature, chat.top_p, chat.stop, chat.seed) == (0.5, 0.9, ["END"], 7)


def test_an_answer_can_be_sent_back_as_it_is() -> None:
    blocks: list[Block] = [
        Reasoning("First…", "c2ln", None, "rs_1"),
        Text("Let me look."),
        ToolCall("one", "look", '{"at": "Köln"}', "c2ln"),
        ToolCall("two", "look", ""),
        ToolCall("three", "look", '{"at": "Kö'),
        Refusal("No."),
    ]
    reply = json.loads(write_chat(result(*blocks), ANSWERING))
    assert [call["arguments"] for call in reply["tool_calls"]] == [{"at": "Köln"}, {}, '{"at": "Kö']
    (message,) = read_chat(said({"role": "assistant", "content": reply["content"]})).messages
    calls = [block for block in message.content if isinstance(block, ToolCall)]
    assert [json.loads(call.arguments) for call in calls[:2]] == [{"at": "Köln"}, {}]
    assert calls[2] == blocks[4]
    assert [block for block in message.content if not isinstance(block, ToolCall)] == [blocks[0], blocks[1], blocks[5]]
    assert calls[0].signature == "c2ln"


def test_results_of_one_turn_stand_together() -> None:
    def answered(call: str, content: Any) -> dict[str, Any]:
        return {"role": "tool", "content": [{"type": "tool_result", "call_id": call, "content": content}]}

    picture = {"type": "image", "data": "aGk=", "media_type": "image/png"}
    (message,) = read_chat(said(answered("one", "sunny"), answered("two", [picture]))).messages
    assert message.content == [
        ToolResult("one", [Text("sunny")]),
        ToolResult("two", [Image("aGk=", "image/png")]),
    ]


def test_files_and_pictures_come_by_one_way() -> None:
    parts = [{"type": "file", "id": "file-1", "name": "a.pdf"}, {"type": "image", "url": "https://pictures.test/1"}]
    (message,) = read_chat(said({"role": "user", "content": parts})).messages
    assert message.content == [File(name="a.pdf", id="file-1"), Image(url="https://pictures.test/1")]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages[0].name"),
        ({"response_schema": "x"}, "response_schema"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"stop": "END"}, "stop"),
        ({"seed": 2**64}, "seed"),
        ({"n": 2}, "n"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Invalid) as refused:
        decode_chat(body(**fields))
    assert refused.value.param == param


def test_a_tool_takes_an_object() -> None:
    with pytest.raises(Invalid) as refused:
        read_chat(body(tools=[{"name": "x", "parameters": []}]))
    assert refused.value.param == "tools[0].parameters"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "sunny"}, "messages[0].content"),
        ({"role": "tool", "content": [{"type": "text", "text": "sunny"}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "tool_call", "id": "1", "name": "x"}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "image"}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "image", "url": "x", "data": "y"}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "image", "data": "y"}]}, "messages[0].content[0].media_type"),
        ({"role": "user", "content": [{"type": "video"}]}, "messages[0].content[0].type"),
        (
            {"role": "assistant", "content": [{"type": "tool_call", "id": "1", "name": "x", "arguments": 1}]},
            "messages[0].content[0].arguments",
        ),
    ],
)
def test_parts_that_a_message_cannot_hold_are_named(message: dict[str, Any], param: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_chat(said(message))
    assert refused.value.param == param


@pytest.mark.parametrize("nonsense", [b"", b"null", b"[]", b'"x"', b"{", b"\xff", b'{"model": 1}', b"[" * 100_000])
def test_nonsense_is_the_callers_fault(nonsense: bytes) -> None:
    for decode in (decode_chat, decode_completion):
        with pytest.raises(Invalid):
            decode(nonsense)


def test_usage_says_what_it_counts() -> None:
    answering = msgspec.structs.replace(ANSWERING, price=1_500, used=Usage(5, 3, 2, 9, 4))
    reply = json.loads(write_chat(result(Text("Hi"), usage=Usage(1)), answering))
    assert reply["usage"] == {
        "input": 10,
        "cached_input": 3,
        "output": 9,
        "reasoning": 4,
        "exact": True,
        "cost_usd": 0.0015,
    }
    assert (reply["id"], reply["model"], reply["text"], reply["finish"]) == ("01J", "assistant", "Hi", "stop")


def test_a_prompt_is_one_message() -> None:
    prompt = json.dumps({"model": "assistant", "prompt": "Once", "system": "Tell tales."}).encode()
    assert decode_completion(prompt).model == "assistant"
    assert [message.role for message in read_completion(prompt).messages] == ["system", "user"]
    reply = json.loads(write_completion(result(Text("upon"), Text(" a time")), ANSWERING))
    assert reply["text"] == "upon a time"


def test_a_stream_has_named_events() -> None:
    writer = EventWriter(ANSWERING)
    deltas: list[Delta] = [
        Started("gpt", "x"),
        ReasoningDelta("Hm"),
        ReasoningEnd(signature="c2ln"),
        TextDelta('say "hi"\n'),
        ToolCallStart(0, "one", "look"),
        ToolCallStart(1, "two", "look"),
        ToolCallDelta(0, '{"at":\n'),
        ToolCallDelta(1, "{"),
        ToolCallDelta(0, ' "Köln"}'),
        RefusalDelta("No."),
        Finished("tool_calls"),
    ]
    written = b"".join(writer.write([delta]) for delta in deltas) + writer.end(Usage(2, output=3))
    assert events(written) == [
        ("start", {"id": "01J", "model": "assistant"}),
        ("reasoning", {"text": "Hm"}),
        ("reasoning", {"text": "", "signature": "c2ln"}),
        ("text", {"text": 'say "hi"\n'}),
        ("refusal", {"text": "No."}),
        ("tool_call", call("one", {"at": "Köln"})),
        ("tool_call", call("two", "{")),
        ("finish", {"finish": "tool_calls", "stop_sequence": None}),
        ("usage", {"input": 2, "cached_input": 0, "output": 3, "reasoning": 0, "exact": True}),
    ]


def call(id_: str, arguments: Any) -> dict[str, Any]:
    return {"type": "tool_call", "id": id_, "name": "look", "arguments": arguments, "signature": None}


def test_a_stream_says_at_its_end_what_is_charged() -> None:
    writer = EventWriter(ANSWERING)
    writer.charge(Usage(9, output=4, exact=False), 1_500)
    usage = {"input": 9, "cached_input": 0, "output": 4, "reasoning": 0, "exact": False, "cost_usd": 0.0015}
    assert events(writer.end(None)) == [("start", {"id": "01J", "model": "assistant"}), ("usage", usage)]
    assert isinstance(writer, ChargedWriter)


def test_an_empty_stream_says_who_answers_and_nothing_of_what_nobody_told() -> None:
    assert events(EventWriter(ANSWERING).end(None)) == [("start", {"id": "01J", "model": "assistant"})]


def test_a_failure_is_an_event_of_its_own() -> None:
    assert events(late_error(b'{"status":502}')) == [("error", {"status": 502})]
