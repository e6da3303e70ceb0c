"""Gemini's dialect: what is written for a chat, and how its answers are read, whole and in pieces."""

import json
from typing import Any

import msgspec
import pytest

from polyforge.dialects.gemini import embeddings
from polyforge.dialects.gemini.errors import decode_error
from polyforge.dialects.gemini.models import gemini_name, read_models, vertex_name
from polyforge.dialects.gemini.replies import read_reply
from polyforge.dialects.gemini.requests import SKIP_SIGNATURE, write_chat
from polyforge.dialects.gemini.streams import EventReader
from polyforge.dialects.gemini.thinking import write_thinking
from polyforge.dialects.gemini.tool_names import ToolNames
from polyforge.dialects.gemini.usage import WireUsage, read_usage
from polyforge.dialects.vectors import texts_of
from polyforge.kernel.chat import (
    Audio,
    Block,
    ChatRequest,
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
from polyforge.kernel.errors import Invalid, ModelNotFound, Unsupported, UpstreamFailed
from polyforge.kernel.sse import EventSplitter, data_of
from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import Usage
from tests.support.scripted.gemini import Gemini
from tests.support.scripted.scenarios import SCENARIOS, Failure, Played, Scenario

NEW, OLD = "gemini-3-flash", "gemini-2.5-flash"
SCHEMA = msgspec.Raw(b'{"type":"object","properties":{"city":{"$ref":"#/$defs/city"}},"additionalProperties":false}')
HI = Message("user", [Text("hi")])


def written(chat: ChatRequest, model: str = NEW, *, call_ids: bool = True) -> dict[str, Any]:
    return json.loads(write_chat(chat, model=model, names=ToolNames(chat.tools), call_ids=call_ids))


def contents(*messages: Message, model: str = NEW, call_ids: bool = True) -> list[dict[str, Any]]:
    return written(ChatRequest(messages=list(messages)), model, call_ids=call_ids)["contents"]


# --- requests ---


def test_instructions_and_turns_find_their_places() -> None:
    body = written(
        ChatRequest(
            messages=[
                Message("system", [Text("Be brief.")]),
                HI,
                Message("assistant", [Text("hello")]),
                Message("developer", [Text("And kind.")]),
                Message("user", [Text("one")]),
                Message("user", [Text("two")]),
            ]
        )
    )
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "And kind."}]}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"text": "hello"}]},
        {"role": "user", "parts": [{"text": "one"}, {"text": "two"}]},
    ]
    assert "generationConfig" not in body


def test_every_setting_is_said_and_nothing_that_was_not_asked() -> None:
    body = written(
        ChatRequest(
            messages=[HI],
            output_format=OutputFormat("json_schema", schema=SCHEMA),
            thinking=Thinking(effort="low", shown=True),
            output_limit=9,
            temperature=0.0,
            top_p=0.5,
            top_k=3,
            stop=["END"],
            seed=0,
            frequency_penalty=0.1,
            presence_penalty=-0.1,
            logprobs=True,
            top_logprobs=2,
            choices=2,
        )
    )
    assert body["generationConfig"] == {
        "temperature": 0.0,
        "topP": 0.5,
        "topK": 3,
        "maxOutputTokens": 9,
        "stopSequences": ["END"],
        "seed": 0,
        "presencePenalty": -0.1,
        "frequencyPenalty": 0.1,
        "candidateCount": 2,
        "responseLogprobs": True,
        "logprobs": 2,
        "thinkingConfig": {"thinkingLevel": "low", "includeThoughts": True},
        "responseMimeType": "application/json",
        "responseJsonSchema": json.loads(bytes(SCHEMA)),
    }
    plain = written(ChatRequest(messages=[HI], output_format=OutputFormat("json_object")))
    assert plain["generationConfig"] == {"responseMimeType": "application/json"}


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("named", "1st tool"), {"mode": "ANY", "allowedFunctionNames": ["_1st_tool"]}),
    ],
)
def test_tools_and_whether_they_must_be_called(choice: ToolChoice, config: dict[str, Any]) -> None:
    tools = [Tool("1st tool", "first", SCHEMA), Tool("bare")]
    body = written(ChatRequest(messages=[HI], tools=tools, tool_choice=choice))
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {"name": "_1st_tool", "description": "first", "parametersJsonSchema": json.loads(bytes(SCHEMA))},
                {"name": "bare"},
            ]
        }
    ]
    assert body["toolConfig"] == {"functionCallingConfig": config}


def test_pictures_files_and_speech_go_as_data_or_by_address() -> None:
    turn = Message(
        "user",
        [
            Image(data="AAAA", media_type="image/png"),
            Image(url="https://example.com/a.webp?x=1"),
            Image(url="https://example.com/picture"),
            File(data="BBBB", media_type="application/pdf", name="a.pdf"),
            File(url="https://example.com/b.txt"),
            File(id="files/abc"),
            Audio("CCCC", "wav"),
        ],
    )
    files = "https://generativelanguage.googleapis.com/v1beta/files/abc"
    assert contents(turn)[0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://example.com/a.webp?x=1"}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/picture"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "BBBB"}},
        {"fileData": {"mimeType": "text/plain", "fileUri": "https://example.com/b.txt"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": files}},
        {"inlineData": {"mimeType": "audio/wav", "data": "CCCC"}},
    ]


@pytest.mark.parametrize(
    "block",
    [File(), Image(), File(url="gs://ours/secret.pdf"), File(id="file-of-openai"), ToolCall("a", "b", "{}")],
)
def test_what_has_no_place_in_a_turn_of_the_user_is_refused(block: Any) -> None:
    with pytest.raises(Invalid) as refused:
        contents(Message("user", [block]))
    assert refused.value.param == "messages"


def test_texts_without_a_character_are_left_out_but_never_the_last_turn() -> None:
    nothing = Message("user", [Text("")])
    assert contents(HI, Message("assistant", [Text("")]), nothing) == [{"role": "user", "parts": [{"text": "hi"}]}]
    assert contents(nothing) == [{"role": "user", "parts": [{"text": ""}]}]
    assert contents(Message("system", [Text("Go.")])) == [{"role": "user", "parts": [{"text": "Go."}]}]


CALLS = (
    HI,
    Message(
        "assistant", [Text("Look."), ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", ""), ToolCall("c", "f", "x")]
    ),
    Message(
        "tool", [ToolResult("c", [Text("3")]), ToolResult("a", [Text("1")]), ToolResult("b", [Text("2")], error=True)]
    ),
)


def test_calls_and_all_their_results_stand_in_two_turns_in_the_same_order() -> None:
    _, called, results = contents(*CALLS, model=OLD)
    assert called == {
        "role": "model",
        "parts": [
            {"text": "Look."},
            {"functionCall": {"name": "f", "args": {"x": 1}, "id": "a"}},
            {"functionCall": {"name": "g", "args": {}, "id": "b"}},
            {"functionCall": {"name": "f", "args": {"arguments": "x"}, "id": "c"}},
        ],
    }
    assert results == {
        "role": "user",
        "parts": [
            {"functionResponse": {"name": "f", "response": {"output": "1"}, "id": "a"}},
            {"functionResponse": {"name": "g", "response": {"error": "2"}, "id": "b"}},
            {"functionResponse": {"name": "f", "response": {"output": "3"}, "id": "c"}},
        ],
    }


def test_a_server_without_ids_gets_none_and_what_the_user_adds_is_a_turn_of_its_own() -> None:
    _, called, results, last = contents(*CALLS, HI, model=OLD, call_ids=False)
    assert "id" not in json.dumps([called, results])
    assert last == {"role": "user", "parts": [{"text": "hi"}]}


def test_a_result_of_a_call_that_nobody_knows_goes_by_its_id() -> None:
    result = contents(HI, Message("tool", [ToolResult("lookup", [Text("x")])]))[1]["parts"][0]["functionResponse"]
    assert (result["name"], result["response"]) == ("lookup", {"output": "x"})


@pytest.mark.parametrize("model", [NEW, OLD])
def test_pictures_of_results_go_inside_where_the_model_takes_that_and_beside_where_not(model: str) -> None:
    shown = Message("tool", [ToolResult("a", [Text("see"), Image(data="AAAA", media_type="image/png")])])
    parts = contents(*CALLS[:2], shown, model=model)[-1]["parts"]
    picture = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    if model == NEW:
        assert [part["functionResponse"]["parts"] for part in parts] == [[picture]]
    else:
        assert "parts" not in parts[0]["functionResponse"]
        assert parts[1:] == [picture]


# --- thought signatures ---


def signatures(*messages: Message, model: str = NEW) -> list[str | None]:
    turns = contents(*messages, model=model)
    calls = [part for turn in turns for part in turn["parts"] if "functionCall" in part]
    return [part.get("thoughtSignature") for part in calls]


def test_signatures_go_back_beside_their_calls() -> None:
    signed = Message("assistant", [ToolCall("a", "f", "{}", "c2ln"), ToolCall("b", "f", "{}")])
    assert signatures(HI, signed) == ["c2ln", None]
    assert signatures(HI, signed, model=OLD) == ["c2ln", None]


def test_a_lost_signature_is_skipped_only_where_the_server_asks_for_it() -> None:
    lost = Message("assistant", [ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}")])
    results = Message("tool", [ToolResult("a", []), ToolResult("b", [])])
    assert signatures(HI, lost, results, lost) == [SKIP_SIGNATURE, None, SKIP_SIGNATURE, None]
    assert signatures(HI, lost, results, HI) == [None, None], "a turn that is over"
    assert signatures(HI, lost, model=OLD) == [None, None]
    assert signatures(HI, lost, model="gemini-flash-latest") == [SKIP_SIGNATURE, None]


def test_a_signature_of_prose_goes_back_on_the_prose_with_the_thought_before_it() -> None:
    answer = Message("assistant", [Reasoning("hm", "c2ln"), Text("42")])
    assert contents(HI, answer)[1]["parts"] == [
        {"text": "hm", "thought": True},
        {"text": "42", "thoughtSignature": "c2ln"},
    ]
    assert contents(HI, Message("assistant", [Text("42"), Reasoning("", "c2ln")]))[1]["parts"] == [
        {"text": "42", "thoughtSignature": "c2ln"}
    ]
    assert contents(HI, Message("assistant", [Reasoning("", "c2ln")]))[1]["parts"] == [
        {"text": "", "thoughtSignature": "c2ln"}
    ]
    assert contents(HI, Message("assistant", [Reasoning("of another provider"), Text("42")]))[1]["parts"] == [
        {"text": "42"}
    ]


def test_a_signature_that_came_as_a_thought_is_the_first_calls() -> None:
    assert signatures(HI, Message("assistant", [Reasoning("", "c2ln"), ToolCall("a", "f", "{}")])) == ["c2ln"]


# --- thinking ---


@pytest.mark.parametrize(
    ("model", "thinking", "config"),
    [
        (NEW, None, None),
        (NEW, Thinking(), None),
        (NEW, Thinking(effort="medium"), {"thinkingLevel": "medium"}),
        (NEW, Thinking(effort="none"), {"thinkingLevel": "minimal"}),
        (NEW, Thinking(effort="xhigh"), {"thinkingLevel": "high"}),
        ("gemini-3.1-pro-preview", Thinking(effort="minimal"), {"thinkingLevel": "low"}),
        (NEW, Thinking(budget=2000), {"thinkingBudget": 2000}),
        (NEW, Thinking(budget=0), {"thinkingLevel": "minimal"}),
        (OLD, Thinking(effort="none"), {"thinkingBudget": 0}),
        (OLD, Thinking(effort="high", shown=False), {"thinkingBudget": 24_576, "includeThoughts": False}),
        (OLD, Thinking(budget=31_999), {"thinkingBudget": 24_576}),
        ("gemini-2.5-pro", Thinking(budget=0), {"thinkingBudget": 128}),
        (OLD, Thinking(shown=True), {"includeThoughts": True}),
        ("gemini-pro-latest", Thinking(effort="low"), {"thinkingLevel": "low"}),
        ("gemma-4", Thinking(effort="low"), {"thinkingLevel": "low"}),
    ],
)
def test_thinking_is_a_level_or_a_budget_by_generation(model: str, thinking: Any, config: Any) -> None:
    assert write_thinking(thinking, model) == config


@pytest.mark.parametrize("model", [NEW, OLD])
def test_an_effort_without_a_meaning_is_refused(model: str) -> None:
    with pytest.raises(Invalid) as refused:
        write_thinking(Thinking(effort="extreme"), model)
    assert refused.value.param == "reasoning_effort"


# --- names of tools ---


def test_names_come_back_as_the_caller_wrote_them() -> None:
    names = ToolNames(
        [Tool("getWeather"), Tool("1st"), Tool("-1st"), Tool("_1st"), Tool("x" * 200), Tool("default_api")]
    )
    for name in ("getWeather", "1st", "-1st", "_1st", "x" * 200, "default_api"):
        assert names.restored(names.written(name)) == name
    assert len({names.written(name) for name in ("1st", "-1st", "_1st")}) == 3
    assert len(names.written("x" * 200)) == 128
    assert names.restored("default_api:getWeather") == "getWeather"
    assert names.restored("default_api.getweather") == "getWeather"
    assert names.restored("never_declared") == "never_declared"
    assert names.written("of an older turn") == "of_an_older_turn"


# --- answers ---


def bodies(played: Played) -> list[bytes]:
    splitter = EventSplitter()
    found = [data_of(event) for chunk in played.chunks for event in splitter.feed(chunk)]
    return [data for data in found if data is not None]


def streamed(played: Played, names: ToolNames | None = None) -> list[Delta]:
    reader = EventReader(names or ToolNames())
    deltas = [delta for data in bodies(played) for delta in reader.read(data)]
    deltas += reader.finish()
    assert reader.ended
    return deltas


def collected(deltas: list[Delta]) -> ChatResult:
    """The whole answer that deltas of one choice add up to."""
    thoughts, text, signature, usage = "", "", None, None
    calls: list[ToolCall] = []
    finished: list[Finished] = []
    for delta in deltas:
        if isinstance(delta, ReasoningDelta):
            thoughts += delta.text
        elif isinstance(delta, TextDelta):
            text += delta.text
        elif isinstance(delta, ReasoningEnd):
            signature = delta.signature
        elif isinstance(delta, ToolCallStart):
            assert delta.index == len(calls)
            calls.append(ToolCall(delta.id, delta.name, "", delta.signature))
        elif isinstance(delta, ToolCallDelta):
            calls[delta.index].arguments += delta.arguments
        elif isinstance(delta, Finished):
            finished.append(delta)
        elif isinstance(delta, Used):
            usage = delta.usage
    assert len(finished) == 1
    thought = [Reasoning(thoughts, signature)] if thoughts or signature else []
    content: list[Block] = [*thought, *([Text(text)] if text else []), *calls]
    return ChatResult(choices=[Choice(content=content, finish=finished[0].finish)], usage=usage)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_every_scenario_is_read_the_same_whole_and_in_pieces(scenario: Scenario) -> None:
    told = scenario.told
    whole = read_reply(Gemini().whole(scenario).chunks[0], ToolNames())
    [choice] = whole.choices
    assert "".join([block.text for block in choice.content if isinstance(block, Text)]) == scenario.text
    assert "".join([block.text for block in choice.content if isinstance(block, Reasoning)]) == "".join(
        scenario.thoughts
    )
    calls = [block for block in choice.content if isinstance(block, ToolCall)]
    assert [(call.id, call.name, json.loads(call.arguments)) for call in calls] == [
        (call.id, call.name, call.arguments or {}) for call in scenario.calls
    ]
    assert choice.finish == ("stop" if scenario.ending == "refusal" else scenario.ending)
    assert whole.usage == Usage(
        input=told.input + told.cache_write, cache_read=told.cache_read, output=told.output, reasoning=told.reasoning
    )
    assert (whole.model, whole.id) == ("gemini-scripted-001", "bWFrZS1iZWxpZXZl")
    in_pieces = collected(streamed(Gemini().stream(scenario)))
    assert in_pieces.choices == whole.choices
    assert in_pieces.usage == whole.usage


def reply(*parts: dict[str, Any], reason: str | None = "STOP", **more: Any) -> bytes:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": reason}
    return json.dumps({"candidates": [candidate], **more}).encode()


def played(*datas: bytes) -> Played:
    return Played(200, {}, tuple([b"data: " + data + b"\n\n" for data in datas]))


def test_calls_without_ids_get_some_that_no_other_answer_has() -> None:
    parts = [{"functionCall": {"name": "f"}}, {"functionCall": {"name": "f", "args": {}}}]
    ids: list[str] = []
    for response in ({"responseId": "a-b_1"}, {"responseId": "2"}, {}, {}):
        content = read_reply(reply(*parts, **response), ToolNames()).choices[0].content
        ids += [call.id for call in content if isinstance(call, ToolCall)]
    assert ids[:2] == ["call_ab1_1", "call_ab1_2"]
    assert len(set(ids)) == 8
    deltas = streamed(played(reply(parts[0], reason=None, responseId="x"), reply(parts[1], responseId="x")))
    assert [delta.id for delta in deltas if isinstance(delta, ToolCallStart)] == ["call_x_1", "call_x_2"]


def test_arguments_keep_their_numbers_and_lose_their_blanks() -> None:
    args = b'{\n  "a": 1.0,\n "b": [12345678901234567890]}'
    raw = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":%b}}]}}]}' % args
    [call] = read_reply(raw, ToolNames()).choices[0].content
    assert isinstance(call, ToolCall)
    assert call.arguments == '{"a":1.0,"b":[12345678901234567890]}'


def test_tools_are_called_by_the_callers_names_with_their_signatures() -> None:
    part = {"functionCall": {"name": "default_api:getweather", "args": {}, "id": "1"}, "thoughtSignature": "c2ln"}
    names = ToolNames([Tool("getWeather")])
    assert read_reply(reply(part), names).choices[0].content == [ToolCall("1", "getWeather", "{}", "c2ln")]
    [start] = [delta for delta in streamed(played(reply(part)), names) if isinstance(delta, ToolCallStart)]
    assert (start.name, start.signature) == ("getWeather", "c2ln")


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("NEW_REASON", "stop"),
        (None, "stop"),
    ],
)
def test_ends(reason: str | None, finish: str) -> None:
    assert read_reply(reply({"text": "x"}, reason=reason), ToolNames()).choices[0].finish == finish


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE"])
def test_an_answer_that_went_wrong_in_the_model_is_the_upstreams_failure(reason: str) -> None:
    with pytest.raises(UpstreamFailed, match=reason):
        read_reply(reply(reason=reason), ToolNames())
    with pytest.raises(UpstreamFailed, match=reason):
        EventReader(ToolNames()).read(reply(reason=reason))


def test_a_prompt_that_is_blocked_is_an_empty_answer_that_was_filtered() -> None:
    body = b'{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":8,"totalTokenCount":8}}'
    result = read_reply(body, ToolNames())
    assert result.choices == [Choice(content=[], finish="content_filter")]
    assert result.usage == Usage(input=8)
    assert collected(streamed(played(body))).choices == result.choices


def test_a_finish_that_comes_with_every_piece_is_held_until_the_last() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    deltas = streamed(played(reply({"text": "a"}), reply({"text": "b"}), reply(call), reply()))
    assert [delta for delta in deltas if isinstance(delta, Finished)] == [Finished("tool_calls")]
    assert deltas[-1] == Finished("tool_calls")


def test_what_follows_the_finish_without_content_does_not_undo_it() -> None:
    signature = reply({"text": "", "thoughtSignature": "c2ln"}, reason=None)
    deltas = streamed(played(reply({"text": "a"}), signature, b'{"usageMetadata":{"promptTokenCount":1}}'))
    assert deltas[-1] == Finished("stop")


@pytest.mark.parametrize(
    "datas",
    [
        (),
        (reply({"text": "a"}, reason=None),),
        (reply({"text": "a"}), reply({"text": "b"}, reason=None)),
        (b'{"usageMetadata":{"promptTokenCount":1}}',),
        (b'{"candidates":[{"index":0,"finishReason":"STOP"},{"index":1,"content":{"parts":[{"text":"a"}]}}]}',),
    ],
)
def test_a_stream_without_its_finish_is_broken(datas: tuple[bytes, ...]) -> None:
    with pytest.raises(UpstreamFailed):
        streamed(played(*datas))


def test_several_choices_finish_each_for_itself() -> None:
    def piece(index: int, text: str, reason: str | None) -> bytes:
        content = {"parts": [{"text": text}]}
        return json.dumps({"candidates": [{"index": index, "content": content, "finishReason": reason}]}).encode()

    deltas = streamed(played(piece(0, "a", None), piece(1, "b", "MAX_TOKENS"), piece(0, "c", "STOP")))
    assert [(delta.choice, delta.text) for delta in deltas if isinstance(delta, TextDelta)] == [
        (0, "a"),
        (1, "b"),
        (0, "c"),
    ]
    assert deltas[-2:] == [Finished("stop", choice=0), Finished("length", choice=1)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        b"{}",
        b'{"candidates":[]}',
        b'{"candidates":5}',
        b'{"candidates":[{"content":{"parts":[{"functionCall":{}}]}}]}',
        b'{"candidates":' + b"[" * 100_000,
        b'{"error":{"code":500,"message":"broke","status":"INTERNAL"}}',
    ],
)
def test_what_is_no_answer_is_the_upstreams_failure(body: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        read_reply(body, ToolNames())


def test_unknown_fields_and_parts_are_tolerated() -> None:
    part = {"executableCode": {"language": "PYTHON", "code": "1"}, "future": [1]}
    body = reply(part, {"text": "a", "partMetadata": {}}, modelStatus={}, serviceTier="x")
    assert read_reply(body, ToolNames()).choices[0].content == [Text("a")]
    assert collected(streamed(played(body))).choices[0].content == [Text("a")]


def test_probabilities_are_written_as_openai_does() -> None:
    logprobs = {
        "chosenCandidates": [{"token": "h\u00e9", "tokenId": 5, "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "x", "logProbability": -2}]}],
    }
    candidate = {"content": {"parts": [{"text": "h\u00e9"}]}, "finishReason": "STOP", "logprobsResult": logprobs}
    raw = read_reply(json.dumps({"candidates": [candidate]}).encode(), ToolNames()).choices[0].logprobs
    assert raw is not None
    assert json.loads(bytes(raw))["content"] == [
        {
            "token": "h\u00e9",
            "logprob": -0.5,
            "bytes": [104, 195, 169],
            "top_logprobs": [{"token": "x", "logprob": -2.0, "bytes": [120]}],
        }
    ]


# --- usage ---


def test_arguments_that_are_no_utf8_are_the_upstreams_failure() -> None:
    call = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":"\xff"}}}]}}]}'
    with pytest.raises(UpstreamFailed):
        read_reply(call, ToolNames([]))
    with pytest.raises(UpstreamFailed):
        EventReader(ToolNames([])).read(call)


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        (None, None),
        (WireUsage(), None),
        (WireUsage(prompt_token_count=-1), None),
        (WireUsage(prompt_token_count=10, candidates_token_count=3, total_token_count=13), Usage(10, output=3)),
        (
            WireUsage(10, cached_content_token_count=4, candidates_token_count=3, thoughts_token_count=5),
            Usage(6, cache_read=4, output=8, reasoning=5),
        ),
        (
            WireUsage(10, candidates_token_count=8, thoughts_token_count=5, total_token_count=18),
            Usage(10, output=8, reasoning=5),
        ),
        (WireUsage(10, tool_use_prompt_token_count=7, candidates_token_count=3), Usage(17, output=3)),
    ],
)
def test_usage_adds_up(wire: WireUsage | None, usage: Usage | None) -> None:
    assert read_usage(wire) == usage


# --- errors ---


@pytest.mark.parametrize(
    ("failure", "cause", "retry_after"),
    [
        ("rate", "rate", 7.0),
        ("quota", "quota", 7.0),
        ("overloaded", "overloaded", None),
        ("server", None, None),
        ("denied", "denied", None),
        ("invalid", None, None),
        ("context", "context", None),
        ("not_found", "not_found", None),
    ],
)
def test_errors_say_their_cause(failure: Failure, cause: str | None, retry_after: float | None) -> None:
    body = Gemini().failure(failure).chunks[0]
    for written_as in (body, b"[" + body + b"]"):
        said = decode_error(written_as)
        assert said.message
        assert (said.cause, said.retry_after) == (cause, retry_after)


def test_fractions_of_seconds_are_read_and_credit_that_is_used_up_is_no_rate() -> None:
    error = {
        "status": "RESOURCE_EXHAUSTED",
        "message": "Your prepayment credits are depleted.",
        "details": [{"@type": "RetryInfo", "retryDelay": "45.837906927s"}, {"violations": "odd"}, 5],
    }
    said = decode_error(json.dumps({"error": error}).encode())
    assert (said.cause, said.retry_after) == ("quota", 45.837906927)


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b"{}", b'{"error":"x"}', b"[" * 100_000, b'{"error":{"message":1}}']
)
def test_what_is_no_error_says_nothing(body: bytes) -> None:
    assert decode_error(body).message == ""


# --- embeddings and names of models ---


def test_texts_become_a_batch_and_vectors_float32() -> None:
    texts = ["one", "two"]
    body = json.loads(embeddings.write_batch(texts, model="models/e", dimensions=2))
    assert body["requests"][1] == {
        "model": "models/e",
        "content": {"parts": [{"text": "two"}]},
        "outputDimensionality": 2,
    }
    answer = b'{"embeddings":[{"values":[0.5,1]},{"values":[-1,0]}],"usageMetadata":{"promptTokenCount":4}}'
    result = embeddings.read_batch(answer, texts)
    assert (memoryview(result.data).cast("f").tolist(), result.rows, result.dimensions) == ([0.5, 1, -1, 0], 2, 2)
    assert result.usage == Usage(input=4)
    assert embeddings.read_batch(answer.split(b',"usage')[0] + b"}", texts).usage == Usage(input=2, exact=False)


def test_vertex_counts_each_text() -> None:
    body = json.loads(embeddings.write_predict(["one"], dimensions=None))
    assert body == {"instances": [{"content": "one"}], "parameters": {}}
    answer = b'{"predictions":[{"embeddings":{"values":[1,2],"statistics":{"token_count":3,"truncated":false}}}]}'
    assert embeddings.read_predict(answer, ["one"]).usage == Usage(input=3)


@pytest.mark.parametrize(
    "answer", [b"{}", b'{"embeddings":[{"values":[1]}]}', b'{"embeddings":[{"values":[1]},{"values":[]}]}']
)
def test_vectors_that_are_missing_or_of_two_sizes_are_no_answer(answer: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        embeddings.read_batch(answer, ["one", "two"])


def test_token_ids_are_not_embedded() -> None:
    request = InferenceRequest(task="embedding", dialect="openai", model="m", body=b"", inputs=[[1, 2]])
    with pytest.raises(Unsupported):
        texts_of(request)


def test_names_of_models_never_lead_elsewhere() -> None:
    assert gemini_name("gemini-3-flash") == "models/gemini-3-flash"
    assert gemini_name("tunedModels/mine") == "tunedModels/mine"
    assert vertex_name("claude-x@20260101", "anthropic") == "publishers/anthropic/models/claude-x@20260101"
    assert vertex_name("endpoints/123", "google") == "endpoints/123"
    for name in ("../cachedContents", "a/../b", "a?x=1", "a:b", "", "files/a", "models/", "a b", "é", "a\n"):
        with pytest.raises(ModelNotFound):
            gemini_name(name)
        with pytest.raises(ModelNotFound):
            vertex_name(name, "google")


def test_lists_of_models() -> None:
    assert read_models(b'{"models":[{"name":"models/a"}],"nextPageToken":"t"}') == (["a"], "t")
    assert read_models(b'{"publisherModels":[{"name":"publishers/google/models/b"}]}') == (["b"], None)
    assert read_models(b"{}") == ([], None)
    with pytest.raises(UpstreamFailed):
        read_models(b"[]")
