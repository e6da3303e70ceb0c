"""Requests gone wrong: valid ones of every dialect, changed at random places in ways that JSON and bytes allow."""

import json
import random
from collections.abc import Callable
from typing import Any

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

CHAT: dict[str, Any] = {
    "model": "text",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"city":"x"}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}],
    "tool_choice": "auto",
    "temperature": 0.5,
    "max_completion_tokens": 100,
    "stop": ["END"],
    "stream": False,
}
RESPONSES: dict[str, Any] = {
    "model": "text",
    "instructions": "Be brief.",
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Look"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": False}],
    "text": {"format": {"type": "json_schema", "name": "out", "schema": SCHEMA, "strict": True}},
    "max_output_tokens": 100,
    "store": False,
    "stream": False,
}
MESSAGES: dict[str, Any] = {
    "model": "text",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            ],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {"city": "x"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "rain"}]},
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}],
    "tool_choice": {"type": "auto"},
    "stream": False,
}
COMPLETION: dict[str, Any] = {"model": "text", "prompt": "Once", "max_tokens": 5, "stop": ["x"], "stream": False}
PLATFORM: dict[str, Any] = {
    "model": "text",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    "max_output_tokens": 5,
    "stream": False,
}
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
    "/v1/completions": COMPLETION,
    "/api/v1/chat": PLATFORM,
}
"""A valid body for each path; `model` is the provider's and still to be prefixed."""
_STRANGE: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: True,
    lambda: 0,
    lambda: -1,
    lambda: 2**63,
    lambda: 10**400,
    lambda: 1e308,
    lambda: float("nan"),
    lambda: "",
    lambda: "\x00\n\r",
    lambda: "\ud800",
    lambda: "é" * 300,
    lambda: "data:;base64,%%%",
    lambda: "https://[::1",
    list,
    dict,
    lambda: [[[[]]]],
    lambda: {"type": "text"},
    lambda: {"type": "image_url", "image_url": None},
    lambda: [{"role": "user", "content": "x"}] * 3,
    lambda: "not json {",
    lambda: "true",
)


def malformed(dice: random.Random, path: str, provider: str) -> bytes:
    """A body for `path` that asks for a model of `provider`, most likely wrong."""
    body = json.loads(json.dumps(GOOD[path]))
    body["model"] = f"{provider}/{body['model']}"
    body["stream"] = dice.random() < 0.3
    for _ in range(dice.randint(1, 3)):
        _change(dice, body)
    data = json.dumps(body, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    return _spoil(dice, data) if dice.random() < 0.15 else data


def _change(dice: random.Random, body: Any) -> None:
    """Replace, remove, rename or repeat one value somewhere."""
    holder, place = dice.choice(_places(body))
    if place == "model" and dice.random() < 0.9:
        return
    way = dice.randrange(4)
    if way == 0:
        del holder[place]
    elif way == 1 and isinstance(holder, dict):
        holder[f"{place}x"] = holder.pop(place)
    elif way == 2 and hasattr(holder, "insert"):
        holder.insert(place, holder[place])
    else:
        holder[place] = dice.choice(_STRANGE)()


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every container in `node` with every place in it."""
    found: list[tuple[Any, Any]] = []
    inside = list(node.items()) if isinstance(node, dict) else list(enumerate(node))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    for place, value in inside:
        found.append((node, place))
        if isinstance(value, dict | list) and value:
            found += _places(value)
    return found


def _spoil(dice: random.Random, data: bytes) -> bytes:
    """Break the bytes themselves."""
    cut = dice.randrange(len(data))
    way = dice.randrange(4)
    if way == 0:
        return data[:cut]
    if way == 1:
        return data[:cut] + b"\xff\xfe" + data[cut:]
    if way == 2:
        return data[:cut] + b"[" * 3000 + data[cut:]
    return data[:cut] + data[cut + 1 :]
