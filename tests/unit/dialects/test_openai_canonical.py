"""OpenAI's chat dialect through the canonical form, both ways."""

import json
from typing import Any

import msgspec
import pytest

from polyforge.dialects.openai_chat.completions import CompletionWriter, read_completion, write_completion
from polyforge.dialects.openai_chat.replies import read_reply, write_reply
from polyforge.dialects.openai_chat.requests import PARAMETERS, read_chat, write_chat
from polyforge.dialects.openai_chat.streams import ChunkReader, ChunkWriter
from polyforge.dialects.parameters import unsupported, without_unsupported
from polyforge.dialects.writing import Answering
from polyforge.kernel.chat import (
    ChatRequest,
    ChatResult,
    Choice,
    Delta,
    Finished,
    Image,
    Message,
    Reasoning,
    ReasoningDelta,
    ReasoningEnd,
    Refusal,
    Text,
    TextDelta,
    Thinking,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    ToolChoice,
    ToolResult,
    Used,
)
from polyforge.kernel.errors import Invalid, Unsupported, UpstreamFailed
from polyforge.kernel.sse import EventSplitter, data_of
from polyforge.kernel.usage import Usage
from tests.support.scripted.openai import OpenAI
from tests.support.scripted.scenarios import SCENARIOS, Scenario

ANSWERING = Answering("01ARZ3NDEKTSV4RRFFQ69G5FAV", "assistant", 1_700_000_000, wants_usage=True)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
BODY: dict[str, Any] = {
    "model": "assistant",
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,CCCC"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "f", "arguments": "not json"},
                    "extra_content": {"google": {"thought_signature": "sig"}},
                },
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "out", "schema": SCHEMA, "strict": True}},
    "max_completion_tokens": 50,
    "stop": "END",
    "reasoning_effort": "low",
    "n": 2,
    "service_tier": "auto",
    "prediction": {"type": "content"},
}


def encoded(**changes: Any) -> bytes:
    return json.dumps({**BODY, **changes}).encode()


def test_a_request_is_read_whole() -> None:
    chat = read_chat(encoded())
    assert [message.role for message in chat.messages] == ["developer", "user", "assistant", "tool"]
    user, assistant, tools = chat.messages[1:]
    assert user.name == "ann"
    assert [type(block).__name__ for block in user.content] == ["Text", "Image", "Image", "Audio", "File"]
    assert user.content[1] == Image(data="AAAA", media_type="image/png", detail="low")
    assert assistant.content == [ToolCall("c1", "f", "not json", "sig"), ToolCall("c2", "g", "")]
    assert tools.content == [ToolResult("c1", [Text("one")]), ToolResult("c2", [Text("two")])]
    assert chat.tool_choice == ToolChoice("named", "f")
    assert (chat.output_limit, chat.stop, chat.choices) == (50, ["END"], 2)
    assert chat.thinking == Thinking(effort="low")
    assert sorted(chat.others) == ["prediction", "service_tier"]


def test_what_is_written_reads_back_the_same() -> None:
    chat = read_chat(encoded(prediction=None, service_tier=None))
    again = read_chat(write_chat(chat, model="other", stream=True, limit_field="max_completion_tokens"))
    chat.messages[0].role = "system"  # Not every server knows developers.
    assistant = chat.messages[2].content[1]
    assert isinstance(assistant, ToolCall)
    assistant.arguments = "{}"  # Not every server takes none.
    assert json.loads(msgspec.json.encode(again)) == json.loads(msgspec.json.encode(chat))


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].file"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0]"),
        ({"tools": [{"type": "custom"}]}, "tools[0]"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x,y"}}]}]},
            "messages[0].content[0].image_url.url",
        ),
    ],
)
def test_what_has_no_place_is_named(change: dict[str, Any], param: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_chat(encoded(**change))
    assert caught.value.param == param


def test_pictures_in_results_follow_in_a_message_of_the_user() -> None:
    result = ToolResult("c1", [Text("see"), Image(data="AAAA", media_type="image/png")])
    written = json.loads(write_chat(ChatRequest(messages=[Message("tool", [result])]), model="m", stream=False))[
        "messages"
    ]
    assert written[0] == {"role": "tool", "tool_call_id": "c1", "content": "see"}
    assert written[1]["content"][0]["image_url"]["url"] == "data:image/png;base64,AAAA"


def test_thoughts_are_not_sent_and_a_turn_is_never_without_content() -> None:
    chat = ChatRequest(messages=[Message("assistant", [Reasoning("hm", "sig")]), Message("user", [Text("")])])
    written = json.loads(write_chat(chat, model="m", stream=False))["messages"]
    assert written == [{"role": "assistant", "content": ""}, {"role": "user", "content": ""}]


def test_what_a_format_cannot_say_is_found_and_hints_are_not() -> None:
    chat = ChatRequest(
        messages=[],
        seed=1,
        user="u",
        tools=[Tool("f")],
        output_format=None,
        thinking=Thinking(budget=5),
        others={"store": msgspec.Raw(b"true"), "prediction": msgspec.Raw(b"{}")},
    )
    assert unsupported(chat, frozenset({"tools"})) == ["prediction", "reasoning_effort", "seed"]
    left = without_unsupported(chat, frozenset({"tools"}))
    assert (left.seed, left.user, left.thinking, left.others) == (None, None, None, {})
    assert left.tools == chat.tools
    assert unsupported(chat, PARAMETERS) == ["prediction"]


@pytest.mark.parametrize(
    ("tools", "choice", "missing"),
    [
        ([], None, []),
        ([Tool("f")], ToolChoice("required"), []),
        ([Tool("f"), Tool("g")], ToolChoice("named", "g"), []),
        ([Tool("f"), Tool("g")], ToolChoice("none"), []),
        ([Tool("f"), Tool("g")], ToolChoice("required"), ["parallel_tool_calls"]),
        ([Tool("f"), Tool("g")], None, ["parallel_tool_calls"]),
    ],
)
def test_one_call_at_a_time_matters_where_several_tools_can_be_called(
    tools: list[Tool], choice: ToolChoice | None, missing: list[str]
) -> None:
    chat = ChatRequest(messages=[], tools=tools, tool_choice=choice, parallel_tool_calls=False)
    assert unsupported(chat, frozenset({"tools", "tool_choice"})) == missing


# --- answers ---


def deltas_of(scenario: Scenario, cut: int) -> list[Delta]:
    """What the reader makes of the scripted stream, its bytes arriving `cut` at a time."""
    reader, splitter = ChunkReader(), EventSplitter()
    data = b"".join(OpenAI().stream(scenario).chunks)
    found: list[Delta] = []
    for start in range(0, len(data), cut):
        for frame in splitter.feed(data[start : start + cut]):
            payload = data_of(frame)
            assert payload is not None
            found += reader.read(payload)
    assert reader.ended
    return found


@pytest.mark.parametrize("cut", [7, 100_000])
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_a_stream_and_a_whole_answer_say_the_same(scenario: Scenario, cut: int) -> None:
    whole = read_reply(OpenAI().whole(scenario).chunks[0])
    deltas = deltas_of(scenario, cut)
    choice = whole.choices[0]
    text = "".join([block.text for block in choice.content if isinstance(block, Text | Refusal)])
    assert text == scenario.text
    streamed = [delta for delta in deltas if not isinstance(delta, ReasoningDelta)]
    assert "".join([getattr(delta, "text", "") for delta in streamed]) == text
    thoughts = [delta.text for delta in deltas if isinstance(delta, ReasoningDelta)]
    assert thoughts == list(scenario.thoughts)
    calls = [block for block in choice.content if isinstance(block, ToolCall)]
    starts = [delta for delta in deltas if isinstance(delta, ToolCallStart)]
    assert [start.index for start in starts] == list(range(len(calls)))
    for call, start in zip(calls, starts, strict=True):
        assert (start.id, start.name) == (call.id, call.name)
        pieces = [d.arguments for d in deltas if isinstance(d, ToolCallDelta) and d.index == start.index]
        assert "".join(pieces) == call.arguments
    ends = [delta for delta in deltas if isinstance(delta, Finished)]
    assert [end.finish for end in ends] == [choice.finish] == [scenario.ending]
    used = [delta.usage for delta in deltas if isinstance(delta, Used)]
    assert used == [whole.usage]
    told = scenario.told
    assert whole.usage == Usage(told.input, told.cache_read, told.cache_write, told.output, told.reasoning)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_what_is_written_is_read_back_by_the_same_rules(scenario: Scenario) -> None:
    whole = read_reply(OpenAI().whole(scenario).chunks[0])
    again = read_reply(write_reply(whole, ANSWERING))
    calls = [block for block in whole.choices[0].content if isinstance(block, ToolCall)]
    for call in calls:
        call.arguments = call.arguments or "{}"
    assert again.choices[0].content == whole.choices[0].content
    assert again.usage == whole.usage
    written = ChunkWriter(ANSWERING)
    frames = written.write(deltas_of(scenario, 100_000)) + written.end(whole.usage)
    events = [json.loads(part[6:]) for part in frames.split(b"\n\n") if part and part != b"data: [DONE]"]
    assert frames.endswith(b"data: [DONE]\n\n")
    assert {event["id"] for event in events} == {f"chatcmpl-{ANSWERING.id}"}
    assert [event["usage"] is None for event in events] == [True] * (len(events) - 1) + [False]
    assert sum(1 for event in events for choice in event["choices"] if choice["finish_reason"]) == 1
    reader = ChunkReader()
    back = [delta for event in events for delta in reader.read(json.dumps(event).encode())] + reader.finish()
    text = [delta.text for delta in back if isinstance(delta, TextDelta)]
    expected = "" if scenario.ending == "refusal" else scenario.text
    assert "".join(text) == expected


def test_signatures_reach_clients_and_come_back() -> None:
    content = [Reasoning("hm", "s1"), Reasoning(encrypted="e1"), ToolCall("c", "f", "{}", "s2")]
    result = ChatResult(choices=[Choice(content=list(content), finish="tool_calls")])
    message = json.loads(write_reply(result, ANSWERING))["choices"][0]["message"]
    assert message["reasoning_content"] == "hm"
    turn = read_chat(encoded(messages=[message])).messages[0]
    assert turn.content == content
    writer = ChunkWriter(ANSWERING)
    frames = writer.write([ReasoningDelta("hm"), ReasoningEnd(signature="s1"), ReasoningEnd(encrypted="e1")])
    blocks = [
        json.loads(part[6:])["choices"][0]["delta"].get("thinking_blocks") for part in frames.split(b"\n\n") if part
    ]
    assert blocks[1:] == [
        [{"type": "thinking", "thinking": "hm", "signature": "s1"}],
        [{"type": "redacted_thinking", "data": "e1"}],
    ]


def tool_chunk(**call: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).encode()


def test_calls_get_dense_indexes_whatever_the_server_counts() -> None:
    reader = ChunkReader()
    chunks = (
        tool_chunk(index=3, id="a", function={"name": "f", "arguments": "{"}),
        tool_chunk(index=3, function={"arguments": "}"}),
        tool_chunk(index=3, id="b", function={"name": "g", "arguments": "{}"}),
        tool_chunk(id="c", function={"name": "h", "arguments": "{}"}),
    )
    deltas = [delta for chunk in chunks for delta in reader.read(chunk)]
    starts = [(delta.index, delta.id) for delta in deltas if isinstance(delta, ToolCallStart)]
    pieces = [(delta.index, delta.arguments) for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert starts == [(0, "a"), (1, "b"), (2, "c")]
    assert pieces == [(0, "{"), (0, "}"), (1, "{}"), (2, "{}")]


def test_an_end_that_is_said_early_and_wrong_is_held_back_and_mended() -> None:
    reader = ChunkReader()
    early = json.dumps({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}).encode()
    assert not any(isinstance(delta, Finished) for delta in reader.read(early))
    reader.read(tool_chunk(index=0, id="a", function={"name": "f", "arguments": "{}"}))
    assert reader.read(b"[DONE]") == [Finished("tool_calls")]


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b'{"error":{"message":"overloaded"}}',
        b"[DONE]",
        tool_chunk(index=0, id="a"),
        b'{"choices":[{"index":0,"delta":{"content":7}}]}',
    ],
)
def test_what_is_no_stream_is_the_upstreams_failure(data: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        ChunkReader().read(data)


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{"message":7}]}'])
def test_what_is_no_answer_is_the_upstreams_failure(body: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        read_reply(body)


# --- legacy completions ---


def test_a_completion_is_one_message_and_comes_back_as_text() -> None:
    chat = read_completion(b'{"model":"m","prompt":"Once","max_tokens":5,"echo":true,"stop":["x"]}')
    assert chat.messages == [Message("user", [Text("Once")])]
    assert (chat.output_limit, chat.stop, list(chat.others)) == (5, ["x"], ["echo"])
    result = ChatResult(choices=[Choice(content=[Text(" upon")], finish="length")], usage=Usage(3, output=2))
    written = json.loads(write_completion(result, ANSWERING))
    assert written["choices"] == [{"text": " upon", "index": 0, "logprobs": None, "finish_reason": "length"}]
    writer = CompletionWriter(ANSWERING)
    frames = writer.write([TextDelta(" upon"), Finished("stop")]) + writer.end(Usage(3, output=2))
    texts = [json.loads(part[6:]) for part in frames.split(b"\n\n")[:-2]]
    assert [choice["text"] for event in texts for choice in event["choices"]] == [" upon", ""]
    assert texts[-1]["usage"]["total_tokens"] == 5


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], [[1], [2]]])
def test_prompts_that_are_no_one_text_are_refused(prompt: Any) -> None:
    with pytest.raises(Unsupported):
        read_completion(json.dumps({"model": "m", "prompt": prompt}).encode())
