"""What is sent to Bedrock, each body held against the service's own model in botocore."""

import json
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from polyforge.dialects.bedrock_converse.requests import Guardrail, maker_of, write_chat
from polyforge.dialects.openai_chat.requests import read_chat
from polyforge.kernel.chat import (
    Audio,
    ChatRequest,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from polyforge.kernel.errors import Invalid, PolyforgeError, Unsupported

CLAUDE = "eu.anthropic.claude-sonnet-4-6"
OLD_CLAUDE = "anthropic.claude-3-7-sonnet-20250219-v1:0"
NOVA = "us.amazon.nova-2-lite-v1:0"
LLAMA = "meta.llama3-1-70b-instruct-v1:0"
PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
SHAPE: Any = botocore.session.Session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape


def sent(chat: ChatRequest, model: str = CLAUDE, **more: Any) -> dict[str, Any]:
    body = json.loads(write_chat(chat, model=model, **more))
    report = ParamValidator().validate({"modelId": model, **body}, SHAPE)
    assert not report.has_errors(), report.generate_report()
    return body


def asked(model: str = CLAUDE, **fields: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi."}], **fields}
    return sent(read_chat(json.dumps(body).encode()), model)


def said(*turns: tuple[Role, list[Any]], model: str = CLAUDE) -> list[Any]:
    return sent(ChatRequest(messages=[Message(role, blocks) for role, blocks in turns]), model)["messages"]


def refused(error: type[PolyforgeError], chat: ChatRequest, model: str = CLAUDE) -> str | None:
    with pytest.raises(error) as caught:
        write_chat(chat, model=model)
    return caught.value.param


def user(*blocks: Any, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=[Message("user", list(blocks) or [Text("Hi.")])], **fields)


# --- turns ---


def test_turns_alternate_whoever_spoke_twice() -> None:
    turns = said(
        ("user", [Text("a")]),
        ("user", [Text("b")]),
        ("assistant", [Text("c")]),
        ("assistant", [ToolCall("call_1", "f", '{"x":1}')]),
        ("tool", [ToolResult("call_1", [Text("d")])]),
        ("user", [Text("e")]),
    )
    assert turns == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}]},
        {
            "role": "assistant",
            "content": [{"text": "c"}, {"toolUse": {"toolUseId": "call_1", "name": "f", "input": {"x": 1}}}],
        },
        {
            "role": "user",
            "content": [{"toolResult": {"toolUseId": "call_1", "content": [{"text": "d"}]}}, {"text": "e"}],
        },
    ]


def test_several_results_stand_in_one_turn() -> None:
    body = asked(
        messages=[
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": f"call_{place}", "type": "function", "function": {"name": "f", "arguments": ""}}
                    for place in (1, 2)
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            {"role": "tool", "tool_call_id": "call_2", "content": "sun"},
        ],
        tools=[{"type": "function", "function": {"name": "f"}}],
    )
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert [block["toolResult"]["toolUseId"] for block in body["messages"][2]["content"]] == ["call_1", "call_2"]
    assert [block["toolUse"]["input"] for block in body["messages"][1]["content"]] == [{}, {}]


def test_blank_texts_are_left_out_and_with_them_turns_that_hold_nothing() -> None:
    assert said(
        ("user", [Text("a"), Text(" \n")]),
        ("assistant", [Text("")]),
        ("user", [Text("b")]),
        ("assistant", [ToolCall("c", "f", "")]),
        ("tool", [ToolResult("c", [Text("")])]),
    ) == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "c", "content": []}}]},
    ]


def test_a_conversation_in_which_nothing_is_said_is_refused() -> None:
    assert refused(Invalid, user(Text(" "))) == "messages"


def test_the_system_speaks_first_wherever_it_stood() -> None:
    body = asked(
        messages=[
            {"role": "system", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "developer", "content": [{"type": "text", "text": "c", "cache_control": {"type": "ephemeral"}}]},
        ]
    )
    assert body["system"] == [{"text": "a"}, {"text": "c"}, {"cachePoint": {"type": "default"}}]
    assert body["messages"] == [{"role": "user", "content": [{"text": "b"}]}]


def test_what_is_worth_keeping_is_marked() -> None:
    (turn,) = said(("user", [Text("a", cached=True), Text("b")]))
    assert turn["content"] == [{"text": "a"}, {"cachePoint": {"type": "default"}}, {"text": "b"}]
    turns = said(("assistant", [ToolCall("c", "f", "")]), ("tool", [ToolResult("c", [Text("d", cached=True)])]))
    assert turns[1]["content"][1] == {"cachePoint": {"type": "default"}}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ('{"a": {"b": [1, null]}}', {"a": {"b": [1, None]}}),
        ("[1]", {"arguments": "[1]"}),
        ('{"a": ', {"arguments": '{"a": '}),
    ],
)
def test_arguments_become_an_object(arguments: str, expected: dict[str, Any]) -> None:
    turns = said(("user", [Text("a")]), ("assistant", [ToolCall("c", "f", arguments)]))
    assert turns[1]["content"][0]["toolUse"]["input"] == expected


def test_ids_from_elsewhere_are_replaced_alike_in_call_and_result() -> None:
    ids = ["call.1", "call:1", "x" * 65, "", "ü", "fine_id-1"]
    turns = said(
        ("user", [Text("a")]),
        ("assistant", [ToolCall(id_, "f", "") for id_ in ids]),
        ("tool", [ToolResult(id_, [Text("b")], error=True) for id_ in ids]),
    )
    called = [block["toolUse"]["toolUseId"] for block in turns[1]["content"]]
    answered = [block["toolResult"]["toolUseId"] for block in turns[2]["content"]]
    assert called == answered
    assert len(set(called)) == len(ids)
    assert called[-1] == "fine_id-1"
    assert all(0 < len(id_) <= 64 and id_.replace("_", "").replace("-", "").isalnum() for id_ in called)
    assert {block["toolResult"]["status"] for block in turns[2]["content"]} == {"error"}


def test_thoughts_go_back_where_they_were_signed_or_sealed() -> None:
    turns = said(
        ("user", [Text("a")]),
        ("assistant", [Reasoning("think", "c2ln"), Reasoning(encrypted="c2VhbGVk"), Reasoning("unsigned"), Text("b")]),
    )
    assert turns[1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "think", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "c2VhbGVk"}},
        {"text": "b"},
    ]


def test_a_refusal_goes_back_as_text() -> None:
    assert said(("user", [Text("a")]), ("assistant", [Refusal("no")]))[1]["content"] == [{"text": "no"}]


# --- pictures and files ---


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [("image/png", "png"), ("image/jpg", "jpeg"), ("image/jpeg", "jpeg"), ("image/webp", "webp"), (None, "png")],
)
def test_pictures_are_sent_as_they_came(media_type: str | None, expected: str) -> None:
    (turn,) = said(("user", [Image(data=PNG, media_type=media_type)]))
    assert turn["content"] == [{"image": {"format": expected, "source": {"bytes": PNG}}}]


@pytest.mark.parametrize(
    "block",
    [
        Image(url="https://example.com/a.png"),
        Image(url="s3://bucket/a.png"),
        Image(data=PNG, media_type="image/tiff"),
        File(url="https://example.com/a.pdf"),
        File(id="file-1"),
        File(data=PNG, media_type="application/zip"),
    ],
)
def test_what_cannot_be_sent_is_refused(block: Any) -> None:
    assert refused(Unsupported, user(block)) == "messages"


def test_documents_have_names_that_are_allowed_and_their_own() -> None:
    files = [
        File(data=PNG, media_type="application/pdf", name="report.v2.pdf"),
        File(data=PNG, media_type="application/pdf", name="report.v2.pdf"),
        File(data=PNG, media_type="text/plain", name="a  b\n(1) [x]"),
        File(data=PNG, media_type="text/markdown", name="ü"),
        File(data=PNG, name=None),
        File(data=PNG, name="n" * 300),
        File(data=PNG, name="n" * 300),
    ]
    (turn,) = said(("user", [Text("Read."), *files]))
    documents = [block["document"] for block in turn["content"][1:]]
    names = [document["name"] for document in documents]
    assert names[:5] == ["report-v2-pdf", "report-v2-pdf (2)", "a b-(1) [x]", "-", "document"]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 200 for name in names)
    assert [document["format"] for document in documents][:4] == ["pdf", "pdf", "txt", "md"]


@pytest.mark.parametrize(("model", "inside"), [(CLAUDE, True), (NOVA, True), (LLAMA, False)])
def test_pictures_in_results_stay_where_the_model_takes_them(model: str, inside: bool) -> None:
    results = [ToolResult("a", [Text("x"), Image(data=PNG)]), ToolResult("b", [Text("y")])]
    turns = said(("assistant", [ToolCall("a", "f", ""), ToolCall("b", "f", "")]), ("tool", list(results)), model=model)
    content = turns[1]["content"]
    assert [next(iter(block)) for block in content] == ["toolResult", "toolResult", *([] if inside else ["image"])]
    assert len(content[0]["toolResult"]["content"]) == (2 if inside else 1)


def test_speech_is_sent() -> None:
    (turn,) = said(("user", [Audio(PNG, "wav")]))
    assert turn["content"] == [{"audio": {"format": "wav", "source": {"bytes": PNG}}}]


# --- parameters ---


def test_what_converse_has_fields_for() -> None:
    body = asked(max_tokens=5, temperature=0.5, top_p=0.25, stop=["x", "\n\n"])
    assert body["inferenceConfig"] == {
        "maxTokens": 5,
        "temperature": 0.5,
        "topP": 0.25,
        "stopSequences": ["x", "\n\n"],
    }
    assert asked() == {"messages": [{"role": "user", "content": [{"text": "Hi."}]}]}


def test_a_temperature_above_one_is_refused() -> None:
    assert refused(Unsupported, user(temperature=1.5)) == "temperature"


@pytest.mark.parametrize(
    ("model", "expected"), [(CLAUDE, {"top_k": 3}), (NOVA, {"inferenceConfig": {"topK": 3}}), (LLAMA, None)]
)
def test_top_k_is_said_in_the_makers_way(model: str, expected: dict[str, Any] | None) -> None:
    if expected is None:
        assert refused(Unsupported, user(top_k=3), model) == "top_k"
    else:
        assert asked(model, top_k=3)["additionalModelRequestFields"] == expected


@pytest.mark.parametrize(
    ("model", "thinking", "expected", "output"),
    [
        (CLAUDE, Thinking(effort="high"), {"thinking": {"type": "adaptive"}}, {"effort": "high"}),
        (OLD_CLAUDE, Thinking(budget=2000), {"thinking": {"type": "enabled", "budget_tokens": 2000}}, None),
        (CLAUDE, Thinking(budget=0), {"thinking": {"type": "disabled"}}, None),
        (NOVA, Thinking(effort="low"), {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}, None),
        (NOVA, Thinking(effort="none"), {"reasoningConfig": {"type": "disabled"}}, None),
        ("openai.gpt-oss-120b-1:0", Thinking(effort="low"), {"reasoning_effort": "low"}, None),
    ],
)
def test_thinking_is_asked_for_in_the_makers_way(
    model: str, thinking: Thinking, expected: dict[str, Any], output: dict[str, Any] | None
) -> None:
    body = sent(user(thinking=thinking), model)
    assert body["additionalModelRequestFields"] == expected
    assert body.get("outputConfig") == output


def test_a_budget_of_thoughts_leaves_room_for_the_answer() -> None:
    body = sent(user(thinking=Thinking(budget=5000)), OLD_CLAUDE)
    assert body["inferenceConfig"]["maxTokens"] > 5000
    body = sent(user(thinking=Thinking(budget=5000), output_limit=3000), OLD_CLAUDE)
    assert body["inferenceConfig"]["maxTokens"] == 3000
    assert body["additionalModelRequestFields"]["thinking"]["budget_tokens"] < 3000


def test_thinking_that_a_model_cannot_be_told_is_refused() -> None:
    assert refused(Unsupported, user(thinking=Thinking(effort="high")), LLAMA) == "reasoning_effort"


def test_a_schema_for_the_answer() -> None:
    schema = {"name": "person", "schema": SCHEMA, "strict": True, "description": "who"}
    body = asked(response_format={"type": "json_schema", "json_schema": schema}, reasoning_effort="low")
    output = body["outputConfig"]
    wanted = output["textFormat"]["structure"]["jsonSchema"]
    assert (wanted["name"], wanted["description"], json.loads(wanted["schema"])) == ("person", "who", SCHEMA)
    assert output["effort"] == "low"


def test_any_json_object_is_asked_for_in_words() -> None:
    body = asked(response_format={"type": "json_object"})
    assert "JSON object" in body["system"][0]["text"]
    assert "outputConfig" not in body


def test_a_guardrail_of_the_account_looks_at_every_call() -> None:
    body = sent(user(), guardrail=Guardrail("abc123", "1"))
    assert body["guardrailConfig"] == {"guardrailIdentifier": "abc123", "guardrailVersion": "1"}


# --- tools ---

TOOLS = [
    {"type": "function", "function": {"name": "f", "description": "does", "parameters": SCHEMA, "strict": True}},
    {"type": "function", "function": {"name": "g", "description": ""}},
]


def test_tools() -> None:
    assert asked(tools=TOOLS)["toolConfig"] == {
        "tools": [
            {"toolSpec": {"name": "f", "description": "does", "inputSchema": {"json": SCHEMA}, "strict": True}},
            {"toolSpec": {"name": "g", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
        ]
    }


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"auto": {}}),
        ("required", {"any": {}}),
        ({"type": "function", "function": {"name": "f"}}, {"tool": {"name": "f"}}),
    ],
)
def test_the_choice_among_them(choice: Any, expected: dict[str, Any]) -> None:
    assert asked(tools=TOOLS, tool_choice=choice)["toolConfig"]["toolChoice"] == expected


def test_with_the_choice_none_they_are_withheld() -> None:
    assert "toolConfig" not in asked(tools=TOOLS, tool_choice="none")


CALLED: list[Message] = [
    Message("user", [Text("a")]),
    Message("assistant", [ToolCall("c", "h", "")]),
    Message("tool", [ToolResult("c", [Text("b")])]),
]


def test_after_calls_there_must_be_tools_even_where_none_may_be_called() -> None:
    body = sent(ChatRequest(messages=CALLED, tool_choice=ToolChoice("none")))
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["h"]
    assert body["additionalModelRequestFields"] == {"tool_choice": {"type": "none"}}
    body = sent(ChatRequest(messages=CALLED), LLAMA)
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["h"]
    assert "additionalModelRequestFields" not in body
    assert "toolConfig" in sent(ChatRequest(messages=CALLED[2:]))


def test_one_call_at_a_time() -> None:
    body = asked(tools=TOOLS, tool_choice="required", parallel_tool_calls=False)
    choice = {"type": "any", "disable_parallel_tool_use": True}
    assert body["additionalModelRequestFields"] == {"tool_choice": choice}
    assert "toolChoice" not in body["toolConfig"]
    chat = read_chat(json.dumps({"messages": [{"role": "user", "content": "x"}], "tools": TOOLS}).encode())
    chat.parallel_tool_calls = False
    assert refused(Unsupported, chat, LLAMA) == "parallel_tool_calls"
    chat.tool_choice = ToolChoice("named", "f")
    assert sent(chat, LLAMA)["toolConfig"]["toolChoice"] == {"tool": {"name": "f"}}
    assert "additionalModelRequestFields" not in asked(tools=TOOLS, parallel_tool_calls=True)


@pytest.mark.parametrize(
    ("model", "maker"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic"),
        ("us-gov.anthropic.claude-3-haiku-20240307-v1:0", "anthropic"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "amazon"),
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0", "amazon"),
        ("us.deepseek.r1-v1:0", "other"),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcdefghijkl", "openai"),
        ("text", "openai"),
    ],
)
def test_whose_a_model_is(model: str, maker: str) -> None:
    assert maker_of(model, "openai") == maker
