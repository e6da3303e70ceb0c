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
    "response_format": {"type": "json_schema", "json_schema": {"name": "out", "schema": SCHEMA, "strict": True}},
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
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
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
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"},
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"city": "x"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "rain"}]},
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}],
    "tool_choice": {"type": "auto"},
    "stream": False,
}
COMPLETION: dict[str, Any] = {"model": "text", "prompt": "Once", "max_tokens": 5, "stop": ["x"], "stream": False}
PLATFORM: dict[str, Any] = {
    "model": "text",
    "system": "Be brief.",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look", "cached": True},
                {"type": "image", "data": PNG, "media_type": "image/png"},
                {"type": "file", "data": "JVBERi0=", "media_type": "application/pdf", "name": "a.pdf"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "reasoning", "text": "Hm.", "signature": "c2lnbmVk"},
                {"type": "tool_call", "id": "c1", "name": "f", "arguments": {"city": "x"}},
            ],
        },
        {"role": "tool", "content": [{"type": "tool_result", "call_id": "c1", "content": "rain"}]},
    ],
    "tools": [{"name": "f", "description": "d", "parameters": SCHEMA}],
    "tool_choice": "auto",
    "max_output_tokens": 5,
    "stream": False,
}
TOLD: dict[str, Any] = {
    "model": "text",
    "system": "Be brief.",
    "prompt": "Once",
    "max_output_tokens": 5,
    "stream": False,
}
CODE: dict[str, Any] = {"model": "text", "language": "python", "instructions": "Be kind.", "context": "None."}
EMBEDDINGS: dict[str, Any] = {"model": "text", "input": ["one", "two"], "dimensions": 8, "encoding_format": "float"}
IMAGE: dict[str, Any] = {"model": "text", "prompt": "a cat", "n": 1, "size": "1024x1024", "quality": "low"}
SPEECH: dict[str, Any] = {"model": "text", "input": "Hello", "voice": "alloy", "response_format": "mp3"}
TOKENIZE: dict[str, Any] = {"model": "text", "messages": CHAT["messages"], "tools": CHAT["tools"]}
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
    "/v1/completions": COMPLETION,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/images/generations": IMAGE,
    "/v1/audio/speech": SPEECH,
    "/v1/moderations": {"model": "text", "input": [{"type": "text", "text": "Hello"}]},
    "/api/v1/chat": PLATFORM,
    "/api/v1/completion": TOLD,
    "/api/v1/tokenize": TOKENIZE,
    "/api/v1/code/generate": CODE,
    "/api/v1/code/explain": {**CODE, "code": "1 + 1", "level": "expert"},
    "/api/v1/code/review": {**CODE, "code": "1 + 1", "focus": ["bugs"]},
    "/api/v1/code/fix": {**CODE, "code": "1 + ", "error": "SyntaxError"},
    "/api/v1/code/test": {**CODE, "code": "1 + 1", "framework": "pytest"},
    "/api/v1/code/complete": {**CODE, "prefix": "def f(", "suffix": "pass"},
}
"""A valid body for each path that takes JSON; `model` is the provider's and still to be prefixed."""
FORMS: dict[str, tuple[tuple[str, str | None, bytes], ...]] = {
    "/v1/audio/transcriptions": (("file", "a.wav", b"RIFF$\0\0\0WAVEfmt "), ("language", None, b"de")),
    "/v1/audio/translations": (("file", "a.wav", b"RIFF$\0\0\0WAVEfmt "), ("temperature", None, b"0")),
    "/v1/images/edits": (("image[]", "a.png", b"\x89PNG\r\n\x1a\n"), ("prompt", None, b"a dog")),
}
"""For each path that takes a form its fields beside the model: name, name of the file, content."""
PATHS = (*GOOD, *FORMS)
CHATS = ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/v1/chat")
"""Most of what there is to go wrong is in these."""
_OPTIONAL = (
    "audio",
    "background",
    "cache_control",
    "container",
    "conversation",
    "encoding_format",
    "frequency_penalty",
    "functions",
    "include",
    "logit_bias",
    "logprobs",
    "mcp_servers",
    "metadata",
    "modalities",
    "n",
    "output_config",
    "parallel_tool_calls",
    "prediction",
    "previous_response_id",
    "prompt",
    "reasoning",
    "reasoning_effort",
    "response_format",
    "response_schema",
    "seed",
    "service_tier",
    "stop_sequences",
    "stream_options",
    "text",
    "thinking",
    "tool_choice",
    "top_k",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
)
CALLERS_KEY = "sk-callers-own"
"""Of an account of the caller's at the provider."""
_HEADERS: tuple[tuple[str, str], ...] = (
    ("x-polyforge-route", "provider=openai"),
    ("x-polyforge-route", "tag=" + "x" * 2000),
    ("x-polyforge-route", "strategy=\xe9, ,=,hardware="),
    ("x-polyforge-provider-key", CALLERS_KEY),
    ("x-polyforge-provider-key", f"{CALLERS_KEY} \xff"),
    ("anthropic-beta", "files-api-2025-04-14,,\xfc"),
    ("anthropic-version", "1066-10-14"),
    ("content-type", "multipart/form-data; boundary=other"),
    ("content-encoding", "gzip"),
    ("accept", "\xa0;q=x"),
    ("traceparent", "00-zz-zz-01"),
    ("x-request-id", "\xa0" * 300),
)
_BOUNDARY = b"polyforge"
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


def any_path(dice: random.Random) -> str:
    """Where to send one: mostly a chat."""
    return dice.choice(CHATS if dice.random() < 0.5 else PATHS)


def malformed(dice: random.Random, path: str, provider: str) -> bytes:
    """A body for `path` that asks for a model of `provider`, most likely wrong."""
    data = _form(dice, path, provider) if path in FORMS else _json(dice, path, provider)
    return _spoil(dice, data) if dice.random() < 0.15 else data


def good(path: str, model: str, *, stream: bool) -> bytes:
    """A valid body for one of the paths of `CHATS`."""
    return json.dumps({**GOOD[path], "model": model, "stream": stream}).encode()


def strange_headers(dice: random.Random) -> dict[str, str]:
    """Mostly none; else one that should not be there, or not so."""
    return dict([dice.choice(_HEADERS)]) if dice.random() < 0.1 else {}


def _json(dice: random.Random, path: str, provider: str) -> bytes:
    body = json.loads(json.dumps(GOOD[path]))
    body["model"] = f"{provider}/{body['model']}"
    if "stream" in body:
        body["stream"] = dice.random() < 0.3
    for _ in range(dice.randint(1, 3)):
        _change(dice, body)
    return json.dumps(body, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")


def _form(dice: random.Random, path: str, provider: str) -> bytes:
    """Fields in another order, twice, without a name, or with a strange content."""
    fields = [("model", None, f"{provider}/text".encode()), *FORMS[path]]
    dice.shuffle(fields)
    written = [_field(dice, *field) for field in fields for _ in range(dice.choice((1, 1, 1, 1, 2)))]
    return b"".join(written) + b"--" + _BOUNDARY + b"--\r\n"


def _field(dice: random.Random, name: str, file: str | None, content: bytes) -> bytes:
    if dice.random() < 0.2:
        content = dice.choice((b"", b"\xff\xfe", b"\r\n--polyforge", b"--polyforge--\r\n", b"x" * 300_000))
    shown = "" if dice.random() < 0.1 else f'; name="{name}"'
    shown += "" if file is None else f'; filename="{file}"'
    return b"--" + _BOUNDARY + f"\r\ncontent-disposition: form-data{shown}\r\n\r\n".encode() + content + b"\r\n"


def _change(dice: random.Random, body: Any) -> None:
    """Replace, remove, rename or repeat one value somewhere, or add one at the top."""
    if dice.random() < 0.2:
        body[dice.choice(_OPTIONAL)] = dice.choice(_STRANGE)()
        return
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
