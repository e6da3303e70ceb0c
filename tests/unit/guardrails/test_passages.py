"""Texts taken out of conversations and answers, and put back changed."""

import json

from polyforge.dialects.anthropic_messages.reading import read_chat as read_messages
from polyforge.dialects.openai_chat.requests import read_chat
from polyforge.guardrails.passages import answered, asked, retold, texts_of, with_answered, with_asked
from polyforge.guardrails.rewriting import with_texts
from polyforge.kernel.chat import ChatResult, Choice, Image, Reasoning, Refusal, Text, ToolCall
from polyforge.ports.guardrail import Passage

CHAT = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "be kind"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "u"}}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":"y"}'}}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "found"},
    ],
    "x_unknown": {"keep": 1.50},
}
RESULT = ChatResult(
    choices=[
        Choice(content=[Reasoning("hm", signature="s"), Text("so"), Image(url="u")], finish="stop"),
        Choice(content=[Refusal("no"), ToolCall("a", "f", "{}")], finish="tool_calls", index=1),
    ]
)


def test_every_text_of_a_request_is_a_passage() -> None:
    assert asked(read_chat(json.dumps(CHAT).encode())) == [
        Passage("be kind", "text", "system"),
        Passage("look", "text", "user"),
        Passage('{"x":"y"}', "arguments", "assistant"),
        Passage("found", "result", "tool"),
    ]


def test_every_text_of_an_answer_is_a_passage() -> None:
    assert [(each.text, each.part) for each in answered(RESULT)] == [
        ("hm", "reasoning"),
        ("so", "text"),
        ("no", "refusal"),
        ("{}", "arguments"),
    ]


def test_texts_are_put_back_where_they_were() -> None:
    chat = read_chat(json.dumps(CHAT).encode())
    changed = with_asked(chat, ["1", "2", "3", "4"])
    assert texts_of(asked(changed)) == ["1", "2", "3", "4"]
    assert texts_of(asked(chat))[0] == "be kind"
    answer = with_answered(RESULT, ["5", "6", "7", "8"])
    assert texts_of(answered(answer)) == ["5", "6", "7", "8"]
    assert answer.choices[0].content[2] == Image(url="u")


def test_a_body_is_changed_in_place_and_keeps_what_nobody_knows() -> None:
    changed = json.loads(with_texts(json.dumps(CHAT).encode(), {"look": "see", "found": "lost"}))
    assert changed["messages"][1]["content"][0]["text"] == "see"
    assert changed["messages"][3]["content"] == "lost"
    assert changed["messages"][1]["content"][1] == {"type": "image_url", "image_url": {"url": "u"}}
    assert changed["x_unknown"] == {"keep": 1.5}


def test_names_of_fields_are_not_changed() -> None:
    assert with_texts(b'{"look":"look","a":["look"]}', {"look": "x"}) == b'{"look":"x","a":["x"]}'


def test_arguments_that_are_objects_are_passages_too() -> None:
    body = {
        "model": "m",
        "max_tokens": 5,
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"to": "me"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "done"}]},
        ],
    }
    passages = asked(read_messages(json.dumps(body).encode()))
    assert [(each.part, each.text) for each in passages] == [
        ("text", "go"),
        ("arguments", '{"to": "me"}'),
        ("result", "done"),
    ]


def test_passages_are_retold_with_the_same_place() -> None:
    passages = [Passage("a", "text", "user"), Passage("b", "result", "tool")]
    assert retold(passages, ["a", "c"]) == [passages[0], Passage("c", "result", "tool")]
