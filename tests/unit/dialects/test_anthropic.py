"""Anthropic's Messages: what is read of requests, what survives the way to the provider, and what is refused."""

import json
import random
from typing import Any

import msgspec
import pytest

from polyforge.dialects.anthropic_errors import broken_off, decode_error, encode_error, late_error
from polyforge.dialects.anthropic_messages import facts
from polyforge.dialects.anthropic_messages.reading import read_chat
from polyforge.dialects.anthropic_messages.requests import DEFAULT_LIMIT, write_chat, write_id
from polyforge.dialects.anthropic_messages.thinking import takes_budget
from polyforge.kernel.chat import (
    Audio,
    ChatRequest,
    File,
    Image,
    Message,
    OutputFormat,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from polyforge.kernel.errors import (
    BudgetSpent,
    Invalid,
    PolyforgeError,
    RateLimited,
    Unavailable,
    Unsupported,
    UpstreamFailed,
    UpstreamRefused,
)
from polyforge.server.counting import estimate_tokens

OLD, NEW = "claude-sonnet-4-5", "claude-opus-4-7"
HI = [Message("user", [Text("hi")])]
CACHED = {"cache_control": {"type": "ephemeral"}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
EVERYTHING: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 64,
    "system": [{"type": "text", "text": "Be brief.", **CACHED}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, IMAGE]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Look.", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "sealed"},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"where": "Köln"}},
                {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "sun"}, IMAGE]},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "boom", "is_error": True},
                {"type": "text", "text": "Go on."},
            ],
        },
    ],
    "tools": [{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}, "strict": True}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2048},
    "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    "metadata": {"user_id": "u1"},
    "stop_sequences": ["END"],
    "top_p": 0.99,
}


def body(**fields: object) -> bytes:
    return json.dumps(
        {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}
    ).encode()


def written(chat: ChatRequest, model: str = NEW, **options: Any) -> dict[str, Any]:
    return json.loads(write_chat(chat, model=model, stream=False, **options))


def test_what_routing_limits_and_metering_need_is_read() -> None:
    request = facts.decode_messages(json.dumps({**EVERYTHING, "stream": True}).encode())
    assert (request.task, request.dialect, request.model, request.stream) == ("chat", "anthropic", "claude", True)
    assert (request.output_limit, request.images, request.tools, request.structured) == (64, 2, True, True)
    assert request.parts == 1 + 3 + 1 + 2 + 4 + 3


def test_counting_needs_no_limit() -> None:
    request = facts.decode_count(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
    assert (request.task, request.output_limit, request.stream) == ("tokenization", 0, False)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"model": "a b"}, "model"),
        ({"system": 5}, "system"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], param: str) -> None:
    with pytest.raises(Invalid) as caught:
        facts.decode_messages(body(**fields))
    assert caught.value.param == param


def test_a_limit_has_to_be_said() -> None:
    with pytest.raises(Invalid) as caught:
        facts.decode_messages(b'{"model":"m","messages":[{"role":"user","content":"x"}]}')
    assert caught.value.param == "max_tokens"


def test_only_the_model_is_rewritten_and_every_other_byte_kept() -> None:
    raw = b'{ "model" : "m", "max_tokens":9, "messages":[{"role":"user","content":"\\u00fc  x"}],"new": [1.0, 2e3] }'
    assert facts.rewrite(raw, model="m") == raw
    changed = facts.rewrite(raw, model="claude")
    assert b'[{"role":"user","content":"\\u00fc  x"}]' in changed
    assert b"[1.0, 2e3]" in changed
    assert json.loads(changed) == {**json.loads(raw), "model": "claude"}
    assert json.loads(facts.rewrite(raw, model="m", limit=5))["max_tokens"] == 5


def test_a_field_that_stands_twice_is_sent_once() -> None:
    raw = b'{"model":"cheap","max_tokens":9,"messages":[{"role":"user","content":"x"}],"model":"dear"}'
    assert facts.decode_messages(raw).model == "dear"
    assert facts.rewrite(raw, model="dear").count(b'"model"') == 1


def test_everything_is_read_into_the_canonical_form() -> None:
    chat = read_chat(json.dumps(EVERYTHING).encode())
    system, asked, thought, results, more = chat.messages
    assert system == Message("system", [Text("Be brief.", cached=True)])
    assert asked.content == [Text("What is it?"), Image(data="aGk=", media_type="image/png")]
    assert thought.content == [
        Reasoning("Look.", "c2ln"),
        Reasoning(encrypted="sealed"),
        ToolCall("toolu_1", "look", json.dumps({"where": "Köln"})),
        ToolCall("toolu_2", "look", "{}"),
    ]
    assert results.role == "tool"
    assert results.content == [
        ToolResult("toolu_1", [Text("sun"), Image(data="aGk=", media_type="image/png")]),
        ToolResult("toolu_2", [Text("boom")], error=True),
    ]
    assert more == Message("user", [Text("Go on.")])
    assert (chat.tool_choice, chat.parallel_tool_calls) == (ToolChoice("auto"), False)
    assert chat.thinking == Thinking(budget=2048)
    assert (chat.user, chat.stop, chat.top_p, chat.output_limit, chat.others) == ("u1", ["END"], 0.99, 64, {})


def test_what_was_read_is_written_again() -> None:
    original = {**EVERYTHING, "model": OLD, "max_tokens": 4096}
    again = written(read_chat(json.dumps(original).encode()), OLD)
    assert again.pop("messages") == EVERYTHING["messages"]
    assert again == {name: value for name, value in original.items() if name != "messages"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search_20260318", "name": "web_search"}]}, "tools[0]"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"thinking": {"type": "between_tools"}}, "thinking"),
        ({"messages": [{"role": "user", "content": [{"type": "search_result"}]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]},
            "messages[0].content[0].source",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "document",
                                "source": {"type": "url", "url": "https://a/b.pdf"},
                                "citations": {"enabled": True},
                            }
                        ],
                    }
                ]
            },
            "messages[0].content[0].citations",
        ),
    ],
)
def test_what_only_anthropic_can_do_is_refused_elsewhere(fields: dict[str, object], param: str) -> None:
    with pytest.raises(Unsupported) as caught:
        read_chat(body(**fields))
    assert caught.value.param == param


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "tool", "content": "x"}]},
        {"tool_choice": {"type": "maybe"}},
        {"tool_choice": {"type": "tool"}},
        {"tools": [{"input_schema": {}}]},
        {"output_config": {"format": {"type": "xml"}}},
        {"thinking": {"type": "enabled"}},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": 5}]}]},
    ],
)
def test_nonsense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(Invalid) as caught:
        read_chat(body(**fields))
    assert caught.value.param


def test_bytes_that_are_no_text_are_refused() -> None:
    block = b'{"type":"tool_use","id":"a","name":"b","input":{"x":"\xff"}}'
    with pytest.raises(Invalid):
        read_chat(b'{"model":"m","max_tokens":5,"messages":[{"role":"assistant","content":[' + block + b"]}]}")


def test_documents_are_read_and_written() -> None:
    sources = [
        {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
        {"type": "url", "url": "https://example.com/a.pdf"},
        {"type": "text", "media_type": "text/plain", "data": "plain wörds"},
    ]
    blocks = [{"type": "document", "source": source, "title": "a"} for source in sources]
    chat = read_chat(body(messages=[{"role": "user", "content": blocks}]))
    assert written(chat)["messages"][0]["content"] == blocks
    inner = {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}, IMAGE]}}
    chat = read_chat(body(messages=[{"role": "user", "content": [inner]}]))
    assert [type(block) for block in chat.messages[0].content] == [Text, Image]


def test_system_and_developer_roles_come_before_the_turns_which_alternate() -> None:
    messages = [
        Message("system", [Text("one ")]),
        Message("user", [Text("a")]),
        Message("developer", [Text("two")]),
        Message("user", [Text("b")]),
        Message("assistant", [Text(""), ToolCall("1", "f", "")]),
        Message("tool", [ToolResult("1", [Text("x")]), ToolResult("1", [])]),
        Message("user", [Text("c")]),
        Message("assistant", [Refusal("no")]),
    ]
    found = written(ChatRequest(messages=messages))
    assert found["system"] == [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert [turn["role"] for turn in found["messages"]] == ["user", "assistant", "user", "assistant"]
    results = found["messages"][2]["content"]
    assert [block["type"] for block in results] == ["tool_result", "tool_result", "text"]
    assert found["messages"][1]["content"] == [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]
    assert found["max_tokens"] == DEFAULT_LIMIT


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [("", {}), (" ", {}), ('{"a": 1}', {"a": 1}), ("[1]", {"arguments": "[1]"}), ('{"a":', {"arguments": '{"a":'})],
)
def test_arguments_survive_as_an_object(arguments: str, expected: object) -> None:
    turns = [*HI, Message("assistant", [ToolCall("c", "f", arguments)])]
    assert written(ChatRequest(messages=turns))["messages"][1]["content"][0]["input"] == expected


def test_ids_from_elsewhere_get_others_that_fit_and_stay_together() -> None:
    call = ToolCall("call.with:signs|" + "x" * 80, "f", "{}")
    turns = [*HI, Message("assistant", [call]), Message("tool", [ToolResult(call.id, [Text("y")])])]
    found = written(ChatRequest(messages=turns))["messages"]
    id_ = found[1]["content"][0]["id"]
    assert id_ == found[2]["content"][0]["tool_use_id"] == write_id(call.id)
    assert len(id_) <= 64
    assert write_id("call_1") == "call_1"


def test_thoughts_go_back_only_with_their_signature() -> None:
    thoughts = [Reasoning("unsigned"), Reasoning("signed", "sig"), Reasoning(encrypted="sealed"), Text("x")]
    found = written(ChatRequest(messages=[*HI, Message("assistant", list(thoughts))]))["messages"][1]["content"]
    assert found == [
        {"type": "thinking", "thinking": "signed", "signature": "sig"},
        {"type": "redacted_thinking", "data": "sealed"},
        {"type": "text", "text": "x"},
    ]


@pytest.mark.parametrize(
    ("choice", "alone", "expected"),
    [
        (None, None, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("required"), True, {"type": "any"}),
        (ToolChoice("named", "f"), False, {"type": "tool", "name": "f", "disable_parallel_tool_use": True}),
        (ToolChoice("none"), False, {"type": "none"}),
    ],
)
def test_tool_choices(choice: ToolChoice | None, alone: bool | None, expected: object) -> None:
    chat = ChatRequest(messages=HI, tools=[Tool("f")], tool_choice=choice, parallel_tool_calls=alone)
    assert written(chat).get("tool_choice") == expected


CALL = Message("assistant", [ToolCall("c", "f", "{}")])
RESULT = Message("tool", [ToolResult("c", [Text("rain")])])
THOUGHT = Message("assistant", [Reasoning("Hm.", "sig"), *CALL.content])


@pytest.mark.parametrize(
    ("turns", "thinks"),
    [
        ([], True),
        ([THOUGHT, RESULT], True),
        ([THOUGHT, RESULT, CALL, RESULT], True),
        ([CALL, RESULT, Message("assistant", [Text("It rains.")]), *HI], True),
        ([CALL, RESULT], False),
        ([Message("assistant", [Reasoning("unsigned"), *CALL.content]), RESULT], False),
        ([CALL, RESULT, THOUGHT, RESULT], False),
    ],
)
def test_who_lost_its_thoughts_does_not_think_on(turns: list[Message], thinks: bool) -> None:
    """Only models that are told a budget: the others are taken as they are."""
    chat = ChatRequest(messages=[*HI, *turns], tools=[Tool("f")], thinking=Thinking(effort="low"))
    assert ("thinking" in written(chat, OLD)) is thinks
    assert "thinking" in written(chat, NEW)


@pytest.mark.parametrize(
    ("model", "old"),
    [
        ("claude-3-7-sonnet-latest", True),
        ("claude-sonnet-4-20250514", True),
        ("claude-opus-4-1-20250805", True),
        ("claude-sonnet-4-5@20250929", True),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", True),
        ("claude-opus-4-6", False),
        ("claude-opus-4-7", False),
        ("claude-sonnet-5", False),
        ("claude-haiku-5-5", False),
    ],
)
def test_old_models_are_told_tokens_and_new_ones_an_effort(model: str, old: bool) -> None:
    assert takes_budget(model, "auto") is old
    assert takes_budget(model, "budget")
    assert not takes_budget(model, "adaptive")


def thinking(thought: Thinking, model: str, limit: int | None = None, **more: Any) -> dict[str, Any]:
    return written(ChatRequest(messages=HI, thinking=thought, output_limit=limit, **more), model)


def test_how_much_to_think() -> None:
    found = thinking(Thinking(effort="low"), OLD)
    assert found["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert found["max_tokens"] == DEFAULT_LIMIT + 2048
    assert thinking(Thinking(effort="high"), OLD, 3000)["thinking"]["budget_tokens"] == 2999
    assert thinking(Thinking(budget=10, shown=False), OLD)["thinking"] == {
        "type": "enabled",
        "budget_tokens": 1024,
        "display": "omitted",
    }
    found = thinking(Thinking(effort="minimal", shown=True), NEW)
    assert found["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert found["output_config"] == {"effort": "low"}
    assert thinking(Thinking(budget=9000), NEW)["output_config"] == {"effort": "high"}
    assert "output_config" not in thinking(Thinking(), NEW)
    for off in (Thinking(budget=0), Thinking(effort="none")):
        assert thinking(off, NEW, temperature=0.3)["thinking"] == {"type": "disabled"}


def test_an_effort_and_a_schema_stand_side_by_side() -> None:
    wanted = OutputFormat("json_schema", schema=msgspec.Raw(b'{"type":"object"}'))
    found = thinking(Thinking(effort="max"), NEW, output_format=wanted)
    assert found["output_config"] == {
        "effort": "max",
        "format": {"type": "json_schema", "schema": {"type": "object"}},
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 0.5}, "temperature"),
        ({"top_k": 5}, "top_k"),
        ({"top_p": 0.5}, "top_p"),
        ({"tools": [Tool("f")], "tool_choice": ToolChoice("required")}, "tool_choice"),
        ({"output_limit": 500}, "reasoning_effort"),
        ({"thinking": Thinking(effort="enormous")}, "reasoning_effort"),
    ],
)
def test_what_does_not_go_with_thinking_is_refused(fields: dict[str, Any], param: str) -> None:
    asked: dict[str, Any] = {"messages": HI, "thinking": Thinking(effort="low"), **fields}
    chat = ChatRequest(**asked)
    with pytest.raises(Unsupported) as caught:
        written(chat, OLD)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "chat",
    [
        ChatRequest(messages=HI, temperature=1.5),
        ChatRequest(messages=[Message("user", [Audio("x", "wav")])]),
        ChatRequest(messages=[Message("user", [File(id="file-1")])]),
        ChatRequest(messages=[Message("user", [File(data="%%%", media_type="text/plain")])]),
        ChatRequest(messages=[Message("user", [Text("  ")])]),
    ],
)
def test_what_cannot_be_written_is_refused(chat: ChatRequest) -> None:
    with pytest.raises(Invalid):
        written(chat)


def test_any_json_object_is_asked_for_in_words() -> None:
    chat = ChatRequest(
        messages=[Message("system", [Text("Be brief.")]), *HI], output_format=OutputFormat("json_object")
    )
    body = written(chat)
    assert [block["text"][:30] for block in body["system"]] == ["Be brief.", "Answer with one JSON object an"]
    assert "output_config" not in body
    assert chat.output_format is not None
    chat.output_format.prompted = True
    assert written(chat)["system"] == "Be brief."


def test_a_context_overflow_is_told_in_anthropics_words() -> None:
    elsewhere = UpstreamRefused("too much", status=400, code="context_length_exceeded")
    assert json.loads(encode_error(elsewhere, "r"))["error"]["message"] == "prompt is too long: too much"
    own = UpstreamRefused("prompt is too long: 2 > 1", status=400, code="context_length_exceeded")
    assert json.loads(encode_error(own, "r"))["error"]["message"] == "prompt is too long: 2 > 1"


def test_errors_have_anthropics_names_and_their_own_status() -> None:
    said = json.loads(encode_error(RateLimited("slow down"), "01REQ"))
    assert said == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "slow down"},
        "request_id": "01REQ",
    }
    assert json.loads(encode_error(BudgetSpent("x"), "r"))["error"]["type"] == "billing_error"
    assert json.loads(encode_error(UpstreamFailed("x"), "r"))["error"]["type"] == "api_error"
    assert late_error(b"{}") == b"event: error\ndata: {}\n\n"


@pytest.mark.parametrize(
    ("kind", "message", "cause", "param"),
    [
        ("rate_limit_error", "slow", "rate", None),
        ("overloaded_error", "Overloaded", "overloaded", None),
        ("not_found_error", "model: x", "not_found", "model"),
        ("invalid_request_error", "prompt is too long: 2 tokens > 1 maximum", "context", None),
        ("invalid_request_error", "Your credit balance is too low to access", "quota", None),
        ("invalid_request_error", "messages.0.content: Field required", None, "messages.0.content"),
    ],
)
def test_refusals_are_understood(kind: str, message: str, cause: str | None, param: str | None) -> None:
    said = decode_error(json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode())
    assert (said.message, said.code, said.cause, said.param) == (message, kind, cause, param)


@pytest.mark.parametrize("text", [b"", b"<html>", b"[]", b'{"error":"x"}', b'{"error":{"message":5}}', b"[" * 5000])
def test_a_refusal_that_is_none_is_survived(text: bytes) -> None:
    assert decode_error(text).message == ""


def test_errors_in_a_stream_keep_their_class() -> None:
    assert isinstance(broken_off(b'{"error":{"type":"overloaded_error"}}'), Unavailable)
    assert isinstance(broken_off(b'{"error":{"type":"rate_limit_error"}}'), RateLimited)
    assert isinstance(broken_off(b'{"error":{"type":"api_error","message":"x"}}'), UpstreamFailed)


def test_the_estimate_of_tokens_grows_with_the_text_and_counts_pictures_once() -> None:
    def count(*blocks: Any) -> int:
        return estimate_tokens(ChatRequest(messages=[Message("user", list(blocks))]))

    assert 800 < count(Text("word " * 1000)) < 1500
    assert count(Text("word " * 2000)) > 1.8 * count(Text("word " * 1000))
    assert count(Image(data="a" * 4_000_000)) == count(Image(url="https://x"))
    assert count(ToolResult("c", [Text("word " * 100)])) >= count(Text("word " * 100))


def mutated(value: Any, chance: random.Random) -> Any:
    """The value with something in it replaced by something else."""
    if chance.random() < 0.015:
        return chance.choice([None, 5, -1, "", "x", [], {}, [[]], True, 1e300, "data:,"])
    if isinstance(value, dict):
        return {name: mutated(inner, chance) for name, inner in value.items() if chance.random() > 0.005}
    return [mutated(inner, chance) for inner in value] if isinstance(value, list) else value


def outcome(raw: bytes, model: str) -> int:
    """The status that a request is refused with, or 200."""
    try:
        facts.decode_messages(raw)
        write_chat(read_chat(raw), model=model, stream=False)
    except PolyforgeError as error:
        return error.status
    return 200


def test_requests_that_are_malformed_are_refused_and_never_crash() -> None:
    chance = random.Random(4)
    whole = {**EVERYTHING, "max_tokens": 4096}
    statuses = [outcome(json.dumps(mutated(whole, chance)).encode(), chance.choice([OLD, NEW])) for _ in range(3000)]
    assert set(statuses) == {200, 400}
    assert statuses.count(400) > 1000
