"""Conversations that are kept: what a request refers to, what it becomes, and what is kept of its answer."""

import json
import random
from collections import Counter
from typing import Any

import msgspec
import pytest

from polyforge.dialects.openai_responses import state
from polyforge.dialects.openai_responses.facts import decode_response
from polyforge.dialects.openai_responses.requests import read_chat
from polyforge.dialects.openai_responses.streams import EventWriter
from polyforge.dialects.writing import Answering
from polyforge.kernel.chat import Finished, TextDelta
from polyforge.kernel.errors import Invalid, NotFound

ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
OTHER = "01ARZ3NDEKTSV4RRFFQ69G5FAW"


def encoded(**fields: Any) -> bytes:
    return json.dumps({"model": "assistant", **fields}).encode()


def decoded(raws: list[msgspec.Raw]) -> list[Any]:
    return [json.loads(bytes(raw)) for raw in raws]


def kept(*texts: str, answer: str = ID) -> state.Kept:
    items = [{"id": f"msg_{answer}_i{place}", "role": "user", "content": text} for place, text in enumerate(texts)]
    said = {"id": f"msg_{answer}_0", "type": "message", "role": "assistant", "content": "said"}
    response = {"id": f"resp_{answer}", "output": [said]}
    return state.Kept(
        [msgspec.Raw(json.dumps(item).encode()) for item in items], msgspec.Raw(json.dumps(response).encode())
    )


def test_a_request_goes_on_from_the_answer_before() -> None:
    body = encoded(input="next", previous_response_id=f"resp_{ID}", temperature=0.5)
    references = state.references_of(body)
    assert (references.previous, references.answers) == (ID, {ID})
    whole = json.loads(state.recalled(body, references, {ID: kept("one", "two")}))
    assert [item["content"] for item in whole["input"][:3]] == ["one", "two", "said"]
    assert whole["input"][3]["content"] == [{"type": "input_text", "text": "next"}]
    assert (whole["previous_response_id"], whole["temperature"]) == (f"resp_{ID}", 0.5)


def test_an_item_stands_where_it_was_referred_to() -> None:
    items = [{"role": "user", "content": "a"}, {"type": "item_reference", "id": f"msg_{ID}_0"}]
    body = encoded(input=[*items, {"type": "item_reference", "id": f"msg_{OTHER}_i0"}])
    references = state.references_of(body)
    assert references.answers == {ID, OTHER}
    whole = json.loads(state.recalled(body, references, {ID: kept("x"), OTHER: kept("y", answer=OTHER)}))
    assert [item["content"] for item in whole["input"]] == ["a", "said", "y"]


@pytest.mark.parametrize(
    "fields",
    [
        {"input": "x", "previous_response_id": "resp_1"},
        {"input": "x", "previous_response_id": ""},
        {"input": "x", "previous_response_id": f"resp_{ID}x"},
        {"input": "x", "previous_response_id": f"resp_{OTHER}"},
        {"input": [{"type": "item_reference", "id": "nonsense"}]},
        {"input": [{"type": "item_reference"}]},
        {"input": [{"type": "item_reference", "id": f"msg_{ID}_7"}]},
        {"input": [{"type": "item_reference", "id": f"msg_{OTHER}_0"}]},
    ],
)
def test_what_is_not_there_is_not_found(fields: dict[str, Any]) -> None:
    body = encoded(**fields)
    assert decode_response(body).recalls
    with pytest.raises(NotFound):
        state.recalled(body, state.references_of(body), {ID: kept("one")})


def test_references_are_bounded() -> None:
    ulids = [f"{number:026d}" for number in range(state.MOST_RECALLED + 1)]
    with pytest.raises(Invalid, match="at most"):
        state.references_of(encoded(input=[{"type": "item_reference", "id": f"msg_{ulid}_0"} for ulid in ulids]))


def test_what_is_kept_of_the_input_can_be_listed_and_referred_to() -> None:
    given = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "id": None},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "fc_theirs"},
        {"type": "function_call_output", "call_id": "c", "output": "d"},
        {"type": "reasoning", "summary": []},
    ]
    items = decoded(state.input_of(encoded(input=given), ID))
    assert [item["id"] for item in items] == [
        f"msg_{ID}_i0",
        f"msg_{ID}_i1",
        "fc_theirs",
        f"fco_{ID}_i3",
        f"rs_{ID}_i4",
    ]
    assert [item["type"] for item in items[:2]] == ["message"] * 2
    assert [item["content"] for item in items[:2]] == [
        [{"type": "input_text", "text": "a"}],
        [{"type": "output_text", "text": "b"}],
    ]
    assert read_chat(encoded(input=items[:4])).messages == read_chat(encoded(input=given[:4])).messages
    assert decoded(state.input_of(encoded(input="hi"), ID))[0]["content"] == [{"type": "input_text", "text": "hi"}]


@pytest.mark.parametrize("together", [False, True])
def test_the_end_of_a_stream_can_say_that_nothing_was_kept(together: bool) -> None:
    writer = EventWriter(Answering(ID, "assistant", 1, keeps=True))
    text = "\n\nevent: response.completed\ndata: {}\n\n"
    frames = writer.write([TextDelta(text)])
    end = writer.write([Finished("stop")]) + writer.end(None)
    head, event = state.last_event(frames + end if together else end)
    response = json.loads(bytes(state.response_in(event)))
    assert (response["output"][0]["content"][0]["text"], response["store"]) == (text, True)
    changed = state.ending_not_kept(head, event)
    assert changed.startswith(head)
    assert changed.count(b"event: ") == (frames + end if together else end).count(b"event: ")
    last = json.loads(state.last_event(changed)[1])
    assert last == {**json.loads(event), "response": {**response, "store": False}}
    alone = state.ending_not_kept(b"", event)
    assert state.last_event(alone) == (b"", state.last_event(changed)[1])


JUNK: tuple[Any, ...] = (None, True, -1, 1.5, "", "x", [], {}, [None], [[]], [{}], {"type": "x"}, {"type": 1}, "\ud800")


def test_no_request_breaks_what_reads_it() -> None:
    """Requests with a few values replaced by nonsense are refused by name, or read."""
    chance = random.Random(7)
    outcomes = Counter(_read(json.dumps(_spoil(_WHOLE, chance)).encode()) for _ in range(10_000))
    assert min(outcomes["read"], outcomes["refused"]) > 1000


def _read(body: bytes) -> str:
    try:
        if decode_response(body).recalls:
            body = state.recalled(body, state.references_of(body), {ID: kept("one")})
        read_chat(body)
        state.input_of(body, ID)
    except (Invalid, NotFound):
        return "refused"
    return "read"


_WHOLE: dict[str, Any] = {
    "model": "assistant",
    "instructions": "x",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "u"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "signature:s"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "extra_content": {"google": {}}},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "a"}]},
        {"type": "item_reference", "id": f"msg_{ID}_0"},
        {"role": "user", "content": [{"type": "input_file", "file_data": "data:application/pdf;base64,AA"}]},
    ],
    "previous_response_id": f"resp_{ID}",
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "temperature": 1,
    "top_logprobs": 1,
    "truncation": "disabled",
    "store": True,
    "stream": True,
    "stream_options": {"include_obfuscation": False},
}


def _spoil(value: Any, chance: random.Random) -> Any:
    if chance.random() < 0.02:
        return chance.choice(JUNK)
    if isinstance(value, dict):
        return {name: _spoil(held, chance) for name, held in value.items() if chance.random() > 0.01}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_spoil(held, chance) for held in value]  # pyright: ignore[reportUnknownVariableType]
    return value
