"""Anthropic's Messages API as a scripted server.

Source: https://docs.claude.com/en/api/messages and the types of the official client, which reads it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tests.support.behaviours import Behaviour
from tests.support.scripted.scenarios import CalledTool, Ending, Failure, Played, Scenario, Seen, Told
from tests.support.scripted.server import Playing, ScriptedServer
from tests.support.upstream import Received, Upstream

COUNTED: Final = 17
"""What counting tokens answers."""
SCRIPTED_MODELS: Final = ("claude-scripted-5", "claude-scripted-4-5")
_REASONS: Final[dict[Ending, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
    "content_filter": "refusal",
}
_FAILURES: Final[dict[Failure, tuple[int, str, str]]] = {
    "rate": (429, "rate_limit_error", "This request would exceed your organization's rate limit"),
    "quota": (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "server": (500, "api_error", "Internal server error"),
    "denied": (401, "authentication_error", "invalid x-api-key"),
    "invalid": (400, "invalid_request_error", "temperature: range: -1..1"),
    "context": (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
    "not_found": (404, "not_found_error", "model: claude-none"),
}
_CHOICES: Final = {"auto": "auto", "none": "none", "any": "required"}
_PIECE: Final = 8
"""Characters of arguments in an event."""


class Anthropic:
    """Messages."""

    name = "anthropic"
    keeps_ids = True
    takes_urls = True

    def settings(self, url: str) -> dict[str, Any]:
        """As the hosted service."""
        return {"use": "anthropic", "base_url": f"{url}/v1", "api_key": "sk-ant-scripted"}

    def whole(self, scenario: Scenario) -> Played:
        """A message."""
        content: list[dict[str, Any]] = []
        if scenario.thoughts:
            thought = "".join(scenario.thoughts)
            content.append({"type": "thinking", "thinking": thought, "signature": scenario.signature or ""})
        if scenario.text:
            content.append({"type": "text", "text": scenario.text, "citations": None})
        content += [{**_call(call), "input": call.arguments or {}} for call in scenario.calls]
        body = {
            **_envelope(),
            "content": content,
            "stop_reason": _REASONS[scenario.ending],
            "stop_sequence": None,
            "stop_details": _details(scenario),
            "usage": _usage(scenario.told),
        }
        return Played(200, {"content-type": "application/json"}, (json.dumps(body).encode(),))

    def stream(self, scenario: Scenario) -> Played:
        """Its events."""
        told = scenario.told
        delta = {"stop_reason": _REASONS[scenario.ending], "stop_sequence": None, "stop_details": _details(scenario)}
        usage = {"output_tokens": told.output, "output_tokens_details": {"thinking_tokens": told.reasoning}}
        end = [_event("message_delta", delta=delta, usage=usage), _event("message_stop")]
        return _streamed([*_opening(scenario), *end])

    def failure(self, failure: Failure) -> Played:
        """An error envelope."""
        status, kind, message = _FAILURES[failure]
        headers = {"content-type": "application/json", "request-id": "req_1"}
        if failure in ("rate", "overloaded"):
            headers["retry-after"] = "7"
        body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
        return Played(status, headers, (json.dumps(body).encode(),))

    def broken_stream(self, scenario: Scenario) -> Played:
        """No message_stop."""
        return _streamed(_opening(scenario))

    def error_in_stream(self, scenario: Scenario) -> Played:
        """An error event after an answer of 200."""
        error = _event("error", error={"type": "overloaded_error", "message": "Overloaded"})
        return _streamed([*_opening(scenario), error])

    def is_stream(self, path: str, body: Mapping[str, Any]) -> bool:
        """The field says it."""
        return bool(body.get("stream"))

    def model_of(self, path: str, body: Mapping[str, Any]) -> str:
        """The field says it."""
        return str(body.get("model"))

    def read(self, path: str, body: Mapping[str, Any]) -> Seen:
        """Out of a Messages request."""
        seen = Seen(model=self.model_of(path, body), stream=self.is_stream(path, body))
        system = body.get("system") or ""
        seen.system = system if isinstance(system, str) else _prose(system)
        for message in body.get("messages", ()):
            _read_message(message, seen)
        for tool in body.get("tools", ()):
            seen.tools[tool["name"]] = tool.get("input_schema")
        choice = body.get("tool_choice") or {}
        seen.tool_choice = choice.get("name") or _CHOICES.get(choice.get("type", ""))
        config = body.get("output_config") or {}
        seen.schema = (config.get("format") or {}).get("schema")
        seen.output_limit = body.get("max_tokens")
        seen.temperature, seen.top_p = body.get("temperature"), body.get("top_p")
        seen.stop = list(body.get("stop_sequences") or ())
        seen.effort = config.get("effort")
        seen.budget = (body.get("thinking") or {}).get("budget_tokens")
        return seen


class AnthropicServer(ScriptedServer):
    """Counts tokens and lists models too."""

    def __init__(self) -> None:
        super().__init__(Anthropic())

    def note(self, request: Received) -> Behaviour:
        """Write down what is asked; the answer follows from the path, and the model."""
        if request.path.startswith("/v1/models"):
            Upstream.note(self, request)
            return Playing(_models_answer())
        behaviour = super().note(request)
        return Playing(_count_answer()) if request.path.endswith("/count_tokens") else behaviour


def _count_answer() -> Played:
    """The answer of count_tokens."""
    return Played(200, {"content-type": "application/json"}, (json.dumps({"input_tokens": COUNTED}).encode(),))


def _models_answer() -> Played:
    """The answer of GET /v1/models."""
    rows = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z", "lifecycle": "active"}
        for name in SCRIPTED_MODELS
    ]
    body = {"data": rows, "has_more": False, "first_id": rows[0]["id"], "last_id": rows[-1]["id"]}
    return Played(200, {"content-type": "application/json"}, (json.dumps(body).encode(),))


def _envelope() -> dict[str, Any]:
    return {"id": "msg_abc", "type": "message", "role": "assistant", "model": "claude-scripted-2026", "container": None}


def _opening(scenario: Scenario) -> list[bytes]:
    told = scenario.told
    nothing = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": {**_usage(told), "output_tokens": 1}}
    events = [_event("message_start", message={**_envelope(), **nothing}), _event("ping")]
    place = 0
    if scenario.thoughts:
        pieces = [{"type": "thinking_delta", "thinking": piece} for piece in scenario.thoughts]
        pieces.append({"type": "signature_delta", "signature": scenario.signature or ""})
        events += _block(place, {"type": "thinking", "thinking": "", "signature": ""}, pieces)
        place += 1
    if scenario.pieces:
        pieces = [{"type": "text_delta", "text": piece} for piece in scenario.pieces]
        events += _block(place, {"type": "text", "text": ""}, pieces)
        place += 1
    events.append(_event("something_new", index=place))
    for number, call in enumerate(scenario.calls):
        events += _block(place + number, {**_call(call), "input": {}}, _pieces(call))
    return events


def _block(index: int, block: Mapping[str, Any], deltas: Iterable[Mapping[str, Any]]) -> list[bytes]:
    begin = _event("content_block_start", index=index, content_block=block)
    return [
        begin,
        *(_event("content_block_delta", index=index, delta=delta) for delta in deltas),
        _event("content_block_stop", index=index),
    ]


def _streamed(events: Iterable[bytes]) -> Played:
    return Played(200, {"content-type": "text/event-stream; charset=utf-8"}, tuple(events))


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def _details(scenario: Scenario) -> dict[str, Any] | None:
    return {"type": "refusal", "category": None, "explanation": None} if scenario.ending == "refusal" else None


def _call(call: CalledTool) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "caller": {"type": "direct"}}


def _pieces(call: CalledTool) -> Iterable[dict[str, Any]]:
    yield {"type": "input_json_delta", "partial_json": ""}
    text = "" if call.arguments is None else json.dumps(call.arguments, ensure_ascii=False)
    for start in range(0, len(text), _PIECE):
        yield {"type": "input_json_delta", "partial_json": text[start : start + _PIECE]}


def _usage(told: Told) -> dict[str, Any]:
    return {
        "input_tokens": told.input,
        "cache_creation_input_tokens": told.cache_write,
        "cache_read_input_tokens": told.cache_read,
        "output_tokens": told.output,
        "output_tokens_details": {"thinking_tokens": told.reasoning},
        "service_tier": "standard",
    }


def _prose(blocks: Iterable[Mapping[str, Any]]) -> str:
    return "".join(block["text"] for block in blocks if block["type"] == "text")


def _read_message(message: Mapping[str, Any], seen: Seen) -> None:
    content = message["content"]
    blocks: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not all(block["type"] == "tool_result" for block in blocks):
        seen.turns.append((message["role"], _prose(blocks)))
    for block in blocks:
        _read_block(block, seen)


def _read_block(block: Mapping[str, Any], seen: Seen) -> None:
    if block["type"] == "image":
        seen.images.append(_source(block["source"]))
    elif block["type"] == "document":
        seen.files.append(_source(block["source"]))
    elif block["type"] == "tool_use":
        seen.called.append((block["id"], block["name"], block["input"]))
    elif block["type"] == "thinking":
        seen.thoughts.append((block["thinking"], block["signature"]))
    elif block["type"] == "tool_result":
        told = block.get("content") or ""
        seen.results.append((block["tool_use_id"], told if isinstance(told, str) else _prose(told)))


def _source(source: Mapping[str, Any]) -> tuple[str | None, str]:
    if source["type"] == "url":
        return None, source["url"]
    return source["media_type"], source["data"]
