"""OpenAI's chat completions as a scripted server.

Source: https://platform.openai.com/docs/api-reference/chat and the types of the official client, which reads it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tests.support.scripted.scenarios import CalledTool, Ending, Failure, Played, Scenario, Seen, Told

_REASONS: Final[dict[Ending, str]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "refusal": "stop",
    "content_filter": "content_filter",
}
_FAILURES: Final[dict[Failure, tuple[int, str, str | None]]] = {
    "rate": (429, "requests", "rate_limit_exceeded"),
    "quota": (429, "insufficient_quota", "insufficient_quota"),
    "overloaded": (503, "server_error", None),
    "server": (500, "server_error", None),
    "denied": (401, "invalid_request_error", "invalid_api_key"),
    "invalid": (400, "invalid_request_error", "invalid_value"),
    "context": (400, "invalid_request_error", "context_length_exceeded"),
    "not_found": (404, "invalid_request_error", "model_not_found"),
}
_CREATED: Final = 1_741_569_952
_PIECE: Final = 8
"""Characters of arguments in a chunk."""


class OpenAI:
    """Chat completions."""

    name = "openai"
    keeps_ids = True
    takes_urls = True

    def settings(self, url: str) -> dict[str, Any]:
        """As an OpenAI-compatible server."""
        return {"use": "openai", "base_url": f"{url}/v1", "api_key": "sk-scripted"}

    def whole(self, scenario: Scenario) -> Played:
        """A chat.completion."""
        message: dict[str, Any] = {"role": "assistant", "content": scenario.text or None, "refusal": None}
        if scenario.ending == "refusal":
            message |= {"content": None, "refusal": scenario.text}
        if scenario.thoughts:
            message["reasoning_content"] = "".join(scenario.thoughts)
        if scenario.calls:
            message["tool_calls"] = [_call(call) for call in scenario.calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _REASONS[scenario.ending]}
        body = {
            "id": "chatcmpl-abc",
            "object": "chat.completion",
            "created": _CREATED,
            "model": "gpt-scripted-2026",
            "choices": [choice],
            "usage": _usage(scenario.told),
            "service_tier": "default",
            "system_fingerprint": "fp_1",
        }
        return Played(200, {"content-type": "application/json"}, (json.dumps(body).encode(),))

    def stream(self, scenario: Scenario) -> Played:
        """Its chunks, with the usage chunk and [DONE]."""
        events = [*self._opening(scenario), _chunk({}, _REASONS[scenario.ending]), _usage_chunk(scenario.told)]
        return _streamed([*events, b"data: [DONE]\n\n"])

    def failure(self, failure: Failure) -> Played:
        """An error envelope."""
        status, kind, code = _FAILURES[failure]
        headers = {"content-type": "application/json", "x-request-id": "req_1"}
        if failure in ("rate", "overloaded"):
            headers["retry-after"] = "7"
        param = "temperature" if failure == "invalid" else None
        error = {"message": f"scripted {failure}", "type": kind, "param": param, "code": code}
        return Played(status, headers, (json.dumps({"error": error}).encode(),))

    def broken_stream(self, scenario: Scenario) -> Played:
        """No finish, no [DONE]."""
        return _streamed(self._opening(scenario))

    def error_in_stream(self, scenario: Scenario) -> Played:
        """An event that holds an error."""
        error = {"error": {"message": "scripted break", "type": "server_error", "param": None, "code": None}}
        return _streamed([*self._opening(scenario), b"data: " + json.dumps(error).encode() + b"\n\n"])

    def is_stream(self, path: str, body: Mapping[str, Any]) -> bool:
        """The field says it."""
        return bool(body.get("stream"))

    def model_of(self, path: str, body: Mapping[str, Any]) -> str:
        """The field says it."""
        return str(body.get("model"))

    def read(self, path: str, body: Mapping[str, Any]) -> Seen:
        """Out of a chat completion request."""
        seen = Seen(model=self.model_of(path, body), stream=self.is_stream(path, body))
        for message in body.get("messages", ()):
            _read_message(message, seen)
        for tool in body.get("tools", ()):
            seen.tools[tool["function"]["name"]] = tool["function"].get("parameters")
        choice = body.get("tool_choice")
        seen.tool_choice = choice["function"]["name"] if isinstance(choice, dict) else choice
        form = body.get("response_format")
        seen.schema = form["json_schema"]["schema"] if form and form["type"] == "json_schema" else None
        seen.output_limit = body.get("max_completion_tokens") or body.get("max_tokens")
        seen.temperature, seen.top_p = body.get("temperature"), body.get("top_p")
        stop = body.get("stop") or []
        seen.stop = [stop] if isinstance(stop, str) else list(stop)
        seen.effort = body.get("reasoning_effort")
        return seen

    def _opening(self, scenario: Scenario) -> list[bytes]:
        events = [_chunk({"role": "assistant", "content": "", "refusal": None})]
        events += [_chunk({"reasoning_content": piece}) for piece in scenario.thoughts]
        field = "refusal" if scenario.ending == "refusal" else "content"
        events += [_chunk({field: piece}) for piece in scenario.pieces]
        for place, call in enumerate(scenario.calls):
            events += [_chunk({"tool_calls": [piece]}) for piece in _pieces(call, place)]
        return events


def _streamed(events: Iterable[bytes]) -> Played:
    return Played(200, {"content-type": "text/event-stream; charset=utf-8"}, tuple(events))


def _chunk(delta: Mapping[str, Any], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return _event({"choices": [choice], "usage": None})


def _usage_chunk(told: Told) -> bytes:
    return _event({"choices": [], "usage": _usage(told)})


def _event(fields: Mapping[str, Any]) -> bytes:
    head = {
        "id": "chatcmpl-abc",
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": "gpt-scripted-2026",
        "obfuscation": "xyz",
    }
    return b"data: " + json.dumps({**head, **fields}).encode() + b"\n\n"


def _call(call: CalledTool) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _arguments(call)}}


def _arguments(call: CalledTool) -> str:
    return "" if call.arguments is None else json.dumps(call.arguments, ensure_ascii=False)


def _pieces(call: CalledTool, place: int) -> Iterable[dict[str, Any]]:
    begin = _call(call)
    begin["function"]["arguments"] = ""
    yield {"index": place, **begin}
    text = _arguments(call)
    for start in range(0, len(text), _PIECE):
        yield {"index": place, "function": {"arguments": text[start : start + _PIECE]}}


def _usage(told: Told) -> dict[str, Any]:
    prompt = told.input + told.cache_read + told.cache_write
    return {
        "prompt_tokens": prompt,
        "completion_tokens": told.output,
        "total_tokens": prompt + told.output,
        "prompt_tokens_details": {
            "cached_tokens": told.cache_read,
            "cache_write_tokens": told.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {"reasoning_tokens": told.reasoning, "audio_tokens": 0},
    }


def _read_message(message: Mapping[str, Any], seen: Seen) -> None:
    role, content = message["role"], message.get("content")
    parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    prose = "".join(part["text"] for part in parts if part["type"] == "text")
    if role in ("system", "developer"):
        seen.system += prose
        return
    if role == "tool":
        seen.results.append((message["tool_call_id"], prose))
        return
    seen.turns.append((role, prose))
    for part in parts:
        if part["type"] == "image_url":
            seen.images.append(_split(part["image_url"]["url"]))
        elif part["type"] == "file":
            seen.files.append(_split(part["file"]["file_data"]))
    for call in message.get("tool_calls") or ():
        function = call["function"]
        seen.called.append((call["id"], function["name"], json.loads(function["arguments"])))


def _split(url: str) -> tuple[str | None, str]:
    if not url.startswith("data:"):
        return None, url
    media_type, _, data = url[5:].partition(";base64,")
    return media_type, data
