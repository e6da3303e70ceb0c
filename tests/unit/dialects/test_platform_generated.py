"""Generated bodies for the platform's own paths: whatever comes, it is read, or it is the caller's fault."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.dialects.platform import requests
from polyforge.dialects.platform_code.operations import OPERATIONS
from polyforge.kernel.errors import Invalid

WORDS = st.sampled_from(
    ["assistant", "user", "tool", "text", "image", "tool_call", "tool_result", "python", "a\nb", "", "auto", "expert"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "name", "url", "arguments"]), inner)
    ),
    max_leaves=12,
)
PART = st.dictionaries(
    st.sampled_from(["type", "text", "url", "data", "media_type", "id", "name", "arguments", "call_id", "content"]),
    VALUES | WORDS,
)
MESSAGE = st.fixed_dictionaries(
    {"role": WORDS, "content": st.text(max_size=5) | st.lists(PART, max_size=3)}, optional={"name": VALUES}
)
CHAT: dict[str, Any] = {"model": "assistant", "messages": [{"role": "user", "content": "Hello"}]}
CODE: dict[str, Any] = {
    "language": "python",
    "code": "a = 1",
    "instructions": "Do it.",
    "prefix": "a",
    "suffix": "",
    "framework": "pytest",
    "level": "expert",
    "focus": ["bugs"],
    "error": "E",
    "max_output_tokens": 1,
    "temperature": 0,
}
Readers = tuple[Callable[[bytes], Any], ...]
READERS: dict[str, tuple[dict[str, Any], Readers]] = {
    "chat": (CHAT, (requests.decode_chat, requests.read_chat)),
    "completion": ({"model": "a", "prompt": "b"}, (requests.decode_completion, requests.read_completion)),
    **{
        each.name: (
            {name: value for name, value in CODE.items() if name in each.body.__struct_fields__},
            (each.decode, each.read_chat),
        )
        for each in OPERATIONS
    },
}


def read(readers: Readers, body: bytes) -> None:
    """Nothing but Invalid may come of it."""
    with contextlib.suppress(Invalid):
        for reader in readers:
            reader(body)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_a_body_with_something_wrong_in_it(name: str, data: st.DataObject) -> None:
    valid, readers = READERS[name]
    for reader in readers:
        reader(json.dumps(valid).encode())
    field = data.draw(st.sampled_from([*valid, "stream", "context", "tools", "stop", "more"]))
    read(readers, json.dumps({**valid, field: data.draw(VALUES)}).encode())


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(messages=st.lists(MESSAGE, max_size=4))
def test_messages_of_any_kind(messages: list[Any]) -> None:
    read(READERS["chat"][1], json.dumps({"model": "assistant", "messages": messages}).encode())


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(cut=st.integers(0, 400), put=st.binary(max_size=4))
def test_a_body_that_is_damaged(name: str, cut: int, put: bytes) -> None:
    valid, readers = READERS[name]
    whole = json.dumps(valid).encode()
    place = cut % len(whole)
    read(readers, whole[:place] + put + whole[place + len(put) :])
    read(readers, whole[:place])
