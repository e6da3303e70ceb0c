"""Streams as whole answers and back."""

import json

import msgspec
import pytest

from polyforge.kernel.chat import (
    Block,
    ChatResult,
    Choice,
    Delta,
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
from polyforge.kernel.folding import fold, unfold
from polyforge.kernel.usage import Usage

USED = Usage(input=3, output=5)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def test_a_stream_folds_into_what_was_said_in_order() -> None:
    deltas: list[Delta] = [
        Started("gpt", "id"),
        ReasoningDelta("First I "),
        ReasoningDelta("multiply."),
        ReasoningEnd("signed"),
        TextDelta("Hel", 0, raw({"content": [{"token": "Hel"}]})),
        TextDelta("lo", 0, raw({"content": [{"token": "lo"}], "refusal": None})),
        RefusalDelta("no", 1),
        ToolCallStart(0, "call_a", "get_weather", "thought"),
        ToolCallDelta(0, '{"city":'),
        ToolCallStart(1, "call_b", "get_time"),
        ToolCallDelta(0, '"Köln"}'),
        Finished("refusal", choice=1),
        Finished("tool_calls", choice=0),
        Used(USED),
    ]
    result = fold(deltas)
    assert result is not None
    assert (result.model, result.id, result.usage) == ("gpt", "id", USED)
    first, second = result.choices
    assert first.content == [
        Reasoning("First I multiply.", "signed"),
        Text("Hello"),
        ToolCall("call_a", "get_weather", '{"city":"Köln"}', "thought"),
        ToolCall("call_b", "get_time", ""),
    ]
    assert json.loads(bytes(first.logprobs or b"")) == {"content": [{"token": "Hel"}, {"token": "lo"}]}
    assert (second.content, second.finish, second.index) == ([Refusal("no")], "refusal", 1)


@pytest.mark.parametrize("missing", [[], [TextDelta("x")], [Finished("stop"), TextDelta("x", 1)]])
def test_what_has_no_end_is_no_answer(missing: list[Delta]) -> None:
    assert fold(missing) is None


def test_what_was_unfolded_folds_into_the_same() -> None:
    sealed = Reasoning(encrypted="c2VhbGVk", id="rs_1")
    content: list[Block] = [
        sealed,
        Reasoning("thought", "s"),
        Text("said"),
        Refusal("declined"),
        ToolCall("c", "f", "{}"),
        ToolCall("d", "g", ""),
    ]
    logprobs = raw({"content": [{"token": "said"}]})
    whole = ChatResult(
        choices=[
            Choice(content=content, finish="tool_calls", logprobs=logprobs),
            Choice(content=[Text("also")], finish="stop_sequence", index=1, stop_sequence="END"),
            Choice(content=[], finish="stop", index=2),
        ],
        usage=USED,
        model="m",
        id="i",
    )
    assert fold(unfold(whole)) == whole
    others = fold(unfold(whole, Usage(input=1)))
    assert others is not None
    assert others.usage == Usage(input=1)
