"""OpenAI's Responses: requests read, answers written whole and streamed, as the official client reads them."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from openai.types.responses import Response

from polyforge.dialects.openai_chat.requests import PARAMETERS, write_chat
from polyforge.dialects.openai_responses.facts import decode_response
from polyforge.dialects.openai_responses.replies import write_reply
from polyforge.dialects.openai_responses.requests import read_chat
from polyforge.dialects.openai_responses.streams import EventWriter
from polyforge.dialects.parameters import unsupported, without_unsupported
from polyforge.dialects.writing import Answering
from polyforge.kernel.chat import (
    Audio,
    ChatResult,
    Choice,
    Delta,
    File,
    Finished,
    Image,
    Message,
    OutputFormat,
    Reasoning,
    ReasoningDelta,
    ReasoningEnd,
    Refusal,
    RefusalDelta,
    Started,
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
from polyforge.kernel.errors import Invalid, PolyforgeError, Unsupported, UpstreamFailed
from polyforge.kernel.sse import EventSplitter
from polyforge.kernel.usage import Usage
from tests.support.scripted.scenarios import SCENARIOS, Ending, Scenario

ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
ASKED: dict[str, Any] = {
    "model": "assistant",
    "input": "Hi.",
    "instructions": "Be brief.",
    "metadata": {"order": "7"},
    "temperature": 0.5,
    "tools": [{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}],
    "user": None,
}
ANSWERING = Answering(ID, "assistant", 1_700_000_000, asked=json.dumps(ASKED).encode(), keeps=True)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def encoded(**fields: Any) -> bytes:
    return json.dumps({"model": "assistant", **fields}).encode()


# --- requests ---


def test_what_routing_and_metering_need_is_read_out() -> None:
    body = encoded(
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image"}]},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_file"}]},
        ],
        tools=[{"type": "function", "name": "f"}],
        max_output_tokens=100,
        stream=True,
    )
    request = decode_response(body)
    assert (request.task, request.dialect, request.model, request.stream) == (
        "chat",
        "openai_responses",
        "assistant",
        True,
    )
    assert (request.parts, request.images, request.output_limit) == (7, 2, 100)
    assert (request.keeps, request.recalls) == (True, False)


def test_what_refers_to_earlier_answers_and_what_is_not_to_be_kept_is_seen() -> None:
    assert decode_response(encoded(input="x", previous_response_id="resp_1")).recalls
    assert decode_response(encoded(input=[{"type": "item_reference", "id": "msg_1"}])).recalls
    assert not decode_response(encoded(input="x", store=False)).keeps


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "model": "a b"}, "model"),
        ({"input": "x", "stream_options": {}}, "stream_options"),
        ({"input": [{"role": "user", "content": 7}]}, "input[0].content"),
    ],
)
def test_a_malformed_request_is_refused_with_its_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode_response(encoded(**fields))
    assert caught.value.param == param


def test_everything_that_can_be_asked_is_read() -> None:
    chat = read_chat(
        encoded(
            instructions="Be brief.",
            input=[
                {"role": "developer", "content": "Rules."},
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Look:"},
                        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
                        {"type": "input_image", "image_url": "https://example.com/a.png"},
                        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,CCCC"},
                        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
                        {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "wav"}},
                    ],
                },
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [{"type": "summary_text", "text": "Hm."}],
                    "encrypted_content": "signature:c2ln",
                },
                {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "c2VhbGVk"},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
                {"type": "function_call", "call_id": "one", "name": "get_weather", "arguments": ""},
                {
                    "type": "function_call",
                    "call_id": "two",
                    "name": "get_weather",
                    "arguments": "no json",
                    "extra_content": {"google": {"thought_signature": "sig"}},
                },
                {"type": "function_call_output", "call_id": "one", "output": "rain"},
                {
                    "type": "function_call_output",
                    "call_id": "two",
                    "output": [
                        {"type": "input_text", "text": "sun"},
                        {"type": "input_image", "image_url": "data:image/png;base64,DDDD"},
                    ],
                },
                {"role": "user", "content": "Thanks."},
            ],
            tools=[
                {
                    "type": "function",
                    "name": "get_weather",
                    "description": "!",
                    "parameters": SCHEMA,
                    "strict": True,
                }
            ],
            tool_choice={"type": "function", "name": "get_weather"},
            parallel_tool_calls=False,
            text={"format": {"type": "json_schema", "name": "person", "schema": SCHEMA, "strict": True}},
            reasoning={"effort": "high", "summary": "auto"},
            max_output_tokens=9,
            temperature=0.5,
            top_p=0.9,
            top_logprobs=3,
            user="ann",
            metadata={"a": "b"},
            include=["reasoning.encrypted_content"],
            truncation="disabled",
            store=False,
            background=False,
            previous_response_id=None,
            service_tier="flex",
        )
    )
    assert chat.messages == [
        Message("system", [Text("Be brief.")]),
        Message("developer", [Text("Rules.")]),
        Message(
            "user",
            [
                Text("Look:"),
                Image(data="AAAA", media_type="image/png", detail="low"),
                Image(url="https://example.com/a.png"),
                File(data="CCCC", media_type="application/pdf", name="a.pdf"),
                File(url="https://example.com/a.pdf"),
                Audio("BBBB", "wav"),
            ],
        ),
        Message(
            "assistant",
            [
                Reasoning("Hm.", signature="c2ln", id="rs_1"),
                Reasoning("", encrypted="c2VhbGVk", id="rs_2"),
                Text("I look."),
                ToolCall("one", "get_weather", ""),
                ToolCall("two", "get_weather", "no json", "sig"),
            ],
        ),
        Message(
            "tool",
            [
                ToolResult("one", [Text("rain")]),
                ToolResult("two", [Text("sun"), Image(data="DDDD", media_type="image/png")]),
            ],
        ),
        Message("user", [Text("Thanks.")]),
    ]
    schema = msgspec.Raw(json.dumps(SCHEMA).encode())
    assert chat.tools == [Tool("get_weather", "!", schema, strict=True)]
    assert chat.tool_choice == ToolChoice("named", "get_weather")
    assert chat.output_format == OutputFormat("json_schema", "person", schema, strict=True)
    assert chat.thinking == Thinking(effort="high", shown=True)
    assert (chat.output_limit, chat.temperature, chat.top_p) == (9, 0.5, 0.9)
    assert (chat.logprobs, chat.top_logprobs, chat.user) == (True, 3, "ann")
    assert chat.parallel_tool_calls is False
    assert list(chat.others) == ["service_tier"]


def test_what_changes_the_answer_but_has_no_place_is_not_lost() -> None:
    chat = read_chat(encoded(input="x", text={"verbosity": "low"}, truncation="auto", context_management=[]))
    assert {name: bytes(value) for name, value in chat.others.items()} == {
        "verbosity": b'"low"',
        "truncation": b'"auto"',
        "context_management": b"[]",
    }


def test_how_long_winded_an_answer_shall_be_reaches_openais_models() -> None:
    chat = read_chat(encoded(input="x", text={"verbosity": "low"}))
    assert unsupported(chat, PARAMETERS) == []
    written = json.loads(write_chat(without_unsupported(chat, PARAMETERS), model="m", stream=False))
    assert written["verbosity"] == "low"


def test_a_choice_of_allowed_tools_leaves_the_others_out() -> None:
    tools = [{"type": "function", "name": name} for name in ("a", "b", "c")]
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}
    chat = read_chat(encoded(input="x", tools=tools, tool_choice=allowed))
    assert [tool.name for tool in chat.tools] == ["b"]
    assert chat.tool_choice == ToolChoice("required")


def test_two_answers_in_a_row_stay_two_turns() -> None:
    chat = read_chat(encoded(input=[{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]))
    assert [message.content for message in chat.messages] == [[Text("a")], [Text("b")]]


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, Unsupported, "tools[0]"),
        ({"tools": [{"type": "function"}]}, Invalid, "tools[0].name"),
        ({"tool_choice": {"type": "file_search"}}, Unsupported, "tool_choice"),
        ({"tool_choice": "maybe"}, Invalid, "tool_choice"),
        ({"background": True}, Unsupported, "background"),
        ({"conversation": "conv_1"}, Unsupported, "conversation"),
        ({"include": ["nonsense"]}, Invalid, "include"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, Invalid, "text.format.schema"),
        ({"truncation": "sometimes"}, Invalid, "truncation"),
        ({"input": [{"type": "computer_call_output", "output": {"a": 1}}]}, Unsupported, "input[0]"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, Unsupported, "input[0]"),
        ({"input": [{"role": "nobody", "content": "x"}]}, Invalid, "input[0].role"),
        ({"input": [{"role": "user"}]}, Invalid, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "video"}]}]}, Invalid, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, Unsupported, None),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, Invalid, None),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, Invalid, "input[0].content[0]"),
        ({"input": [{"type": "function_call", "name": "f"}]}, Invalid, "input[0].call_id"),
        ({"input": [{"type": "function_call", "call_id": "f"}]}, Invalid, "input[0].name"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, Invalid, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": {}}]}, Invalid, "input[0].output"),
    ],
)
def test_what_cannot_be_had_is_refused(fields: dict[str, Any], error: type[PolyforgeError], param: str | None) -> None:
    with pytest.raises(error) as caught:
        read_chat(encoded(**{"input": "x", **fields}))
    assert type(caught.value) is error
    assert param is None or caught.value.param == param


# --- answers ---


def whole_of(scenario: Scenario) -> ChatResult:
    content: list[Any] = []
    if scenario.thoughts:
        content.append(Reasoning("".join(scenario.thoughts), scenario.signature))
    if scenario.text:
        content.append(Refusal(scenario.text) if scenario.ending == "refusal" else Text(scenario.text))
    content += [ToolCall(call.id, call.name, _arguments(call.arguments)) for call in scenario.calls]
    return ChatResult(choices=[Choice(content=content, finish=scenario.ending)], usage=usage_of(scenario))


def deltas_of(scenario: Scenario) -> list[Delta]:
    deltas: list[Delta] = [Started("m", "i")]
    deltas += [ReasoningDelta(piece) for piece in scenario.thoughts]
    if scenario.thoughts:
        deltas.append(ReasoningEnd(scenario.signature))
    kind = RefusalDelta if scenario.ending == "refusal" else TextDelta
    deltas += [kind(piece) for piece in scenario.pieces]
    for index, call in enumerate(scenario.calls):
        deltas.append(ToolCallStart(index, call.id, call.name))
        arguments = _arguments(call.arguments)
        deltas += [ToolCallDelta(index, piece) for piece in (arguments[:5], arguments[5:]) if piece]
    return [*deltas, Finished(scenario.ending), Used(usage_of(scenario))]


def _arguments(arguments: dict[str, Any] | None) -> str:
    return "" if arguments is None else json.dumps(arguments, ensure_ascii=False)


def usage_of(scenario: Scenario) -> Usage:
    told = scenario.told
    return Usage(told.input, told.cache_read, told.cache_write, told.output, told.reasoning)


def streamed(deltas: Iterable[Delta], usage: Usage | None) -> list[dict[str, Any]]:
    """The events of a stream whose deltas come one by one."""
    writer = EventWriter(ANSWERING)
    data = b"".join([writer.write([delta]) for delta in deltas]) + writer.end(usage)
    return events_in(data)


def events_in(data: bytes) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for frame in EventSplitter().feed(data):
        name, written = frame.decode().removeprefix("event: ").rstrip("\n").split("\ndata: ", 1)
        events.append(json.loads(written))
        assert events[-1]["type"] == name
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def of_type(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == f"response.{kind}"]


STATUS: dict[Ending, tuple[str, str | None]] = {
    "stop": ("completed", None),
    "tool_calls": ("completed", None),
    "refusal": ("completed", None),
    "length": ("incomplete", "max_output_tokens"),
    "content_filter": ("incomplete", "content_filter"),
}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_every_answer_is_a_response(scenario: Scenario) -> None:
    written = write_reply(whole_of(scenario), ANSWERING)
    response = Response.model_validate_json(written)
    status, reason = STATUS[scenario.ending]
    assert response.id == f"resp_{ID}"
    assert response.status == status
    assert (response.incomplete_details.reason if response.incomplete_details else None) == reason
    assert response.output_text == ("" if scenario.ending == "refusal" else scenario.text)
    calls = [item for item in response.output if item.type == "function_call"]
    assert [(call.call_id, call.name, json.loads(call.arguments)) for call in calls] == [
        (call.id, call.name, call.arguments or {}) for call in scenario.calls
    ]
    thoughts = [item for item in response.output if item.type == "reasoning"]
    assert "".join(part.text for item in thoughts for part in item.summary) == "".join(scenario.thoughts)
    if scenario.signature:
        assert thoughts[0].encrypted_content == f"signature:{scenario.signature}"
    usage, told = response.usage, scenario.told
    assert usage is not None
    assert usage.input_tokens == told.input + told.cache_read + told.cache_write
    assert usage.input_tokens_details.cached_tokens == told.cache_read
    assert usage.input_tokens_details.cache_write_tokens == told.cache_write
    assert (usage.output_tokens, usage.output_tokens_details.reasoning_tokens) == (told.output, told.reasoning)
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_a_stream_ends_with_the_response_that_would_have_come_whole(scenario: Scenario) -> None:
    events = streamed(deltas_of(scenario), usage_of(scenario))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == f"response.{STATUS[scenario.ending][0]}"
    assert events[-1]["response"] == json.loads(write_reply(whole_of(scenario), ANSWERING))


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_the_pieces_of_a_stream_make_up_its_items(scenario: Scenario) -> None:
    events = streamed(deltas_of(scenario), usage_of(scenario))
    output = events[-1]["response"]["output"]
    assert [event["output_index"] for event in of_type(events, "output_item.added")] == list(range(len(output)))
    done = {event["output_index"]: event["item"] for event in of_type(events, "output_item.done")}
    assert [done[index] for index in range(len(output))] == output
    for item in output:
        grown = {
            kind: "".join(
                event["delta"] for event in of_type(events, f"{kind}.delta") if event["item_id"] == item["id"]
            )
            for kind in ("output_text", "refusal", "function_call_arguments", "reasoning_summary_text")
        }
        if item["type"] == "message":
            assert grown["output_text"] == "".join(part.get("text", "") for part in item["content"])
            assert grown["refusal"] == "".join(part.get("refusal", "") for part in item["content"])
        elif item["type"] == "function_call":
            assert grown["function_call_arguments"] == item["arguments"]
        else:
            assert grown["reasoning_summary_text"] == item["summary"][0]["text"]


def test_a_response_repeats_what_was_asked() -> None:
    response = json.loads(write_reply(whole_of(SCENARIOS["text"]), ANSWERING))
    assert {name: response[name] for name in ("instructions", "metadata", "temperature", "tools")} == {
        name: ASKED[name] for name in ("instructions", "metadata", "temperature", "tools")
    }
    assert (response["model"], response["created_at"], response["store"]) == ("assistant", 1_700_000_000, True)
    assert (response["tool_choice"], response["parallel_tool_calls"], response["user"]) == ("auto", True, None)


def test_thoughts_text_calls_and_more_text_keep_their_order() -> None:
    content = [
        Reasoning("a", "s1"),
        Reasoning("", None, "sealed"),
        Text("b"),
        Text("c"),
        Refusal("d"),
        ToolCall("one", "f", "{}", "sig"),
        Text("e"),
        Text(""),
    ]
    whole = write_reply(ChatResult(choices=[Choice(content=list(content), finish="stop")]), ANSWERING)
    deltas = [
        ReasoningDelta("a"),
        ReasoningEnd("s1"),
        ReasoningEnd(None, "sealed"),
        TextDelta("b"),
        TextDelta("c"),
        RefusalDelta("d"),
        ToolCallStart(0, "one", "f", "sig"),
        TextDelta("e"),
        Finished("stop"),
    ]
    response = streamed(deltas, None)[-1]["response"]
    assert response == json.loads(whole)
    kinds = [item["type"] for item in response["output"]]
    assert kinds == ["reasoning", "reasoning", "message", "function_call", "message"]
    assert len({item["id"] for item in response["output"]}) == len(kinds)
    # And all of it comes back as it was.
    again = read_chat(encoded(input=response["output"])).messages
    assert again == [
        Message(
            "assistant",
            [
                Reasoning("a", "s1", id=f"rs_{ID}_0"),
                Reasoning("", None, "sealed", id=f"rs_{ID}_1"),
                Text("bc"),
                Refusal("d"),
                ToolCall("one", "f", "{}", "sig"),
                Text("e"),
            ],
        )
    ]


def test_pieces_of_several_calls_may_come_in_turns() -> None:
    deltas = [
        ToolCallStart(0, "one", "f"),
        ToolCallStart(1, "two", "g"),
        ToolCallDelta(0, '{"a"'),
        ToolCallDelta(1, "{}"),
        ToolCallDelta(0, ":1}"),
        Finished("tool_calls"),
    ]
    output = streamed(deltas, None)[-1]["response"]["output"]
    assert [(item["call_id"], item["arguments"]) for item in output] == [("one", '{"a":1}'), ("two", "{}")]
    with pytest.raises(UpstreamFailed):
        EventWriter(ANSWERING).write([ToolCallDelta(0, "{}")])


def test_a_thought_without_an_end_is_closed_by_what_follows() -> None:
    events = streamed([ReasoningDelta("hm"), TextDelta("x"), Finished("stop")], None)
    assert [event["item"]["type"] for event in of_type(events, "output_item.done")] == ["reasoning", "message"]


def test_logprobs_come_with_their_text() -> None:
    raw = [
        msgspec.Raw(b'{"content":[{"token":"%b","logprob":-1,"bytes":[1],"top_logprobs":[]}]}' % t)
        for t in (b"a", b"b")
    ]
    events = streamed([TextDelta("a", 0, raw[0]), TextDelta("b", 0, raw[1]), Finished("stop")], None)
    assert [event["logprobs"][0]["token"] for event in of_type(events, "output_text.delta")] == ["a", "b"]
    part = events[-1]["response"]["output"][0]["content"][0]
    assert [entry["token"] for entry in part["logprobs"]] == ["a", "b"]


@pytest.mark.parametrize("raw", [b"5", b'{"content":"x"}', b'["\xff"]'])
def test_logprobs_that_are_none_are_the_upstreams_failure(raw: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        EventWriter(ANSWERING).write([TextDelta("a", 0, msgspec.Raw(raw))])


def test_a_refusal_without_words_of_its_own_is_incomplete() -> None:
    result = ChatResult(choices=[Choice(content=[Text("No.")], finish="refusal")])
    response = json.loads(write_reply(result, ANSWERING))
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})


def test_what_breaks_off_fails_and_is_told_to_clients_that_look_for_errors() -> None:
    writer = EventWriter(ANSWERING)
    data = writer.write([TextDelta("50% of")])
    error = {"error": {"message": "it broke", "type": "upstream_error", "param": None, "code": "upstream_error"}}
    events = events_in(data + writer.fail(json.dumps(error).encode()))
    assert [event["type"] for event in events[-2:]] == ["response.failed", "error"]
    failed = events[-2]["response"]
    assert (failed["status"], failed["error"]) == ("failed", {"code": "server_error", "message": "it broke"})
    assert failed["store"] is False
    assert events[-1]["error"]["message"] == events[-1]["message"] == "it broke"
