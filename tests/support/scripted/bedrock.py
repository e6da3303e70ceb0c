"""Amazon Bedrock's Converse as a scripted server.

Source: the service's model in botocore, which reads what is written here in tests/unit/dialects/test_bedrock_sdk.py.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from tests.support.scripted.eventstream import event, exception
from tests.support.scripted.scenarios import CalledTool, Ending, Failure, Played, Scenario, Seen, Told

ACCESS_KEY: Final = "AKIDSCRIPTED"
SECRET_KEY: Final = "scripted/secret+key"
REGION: Final = "eu-central-1"
_REASONS: Final[dict[Ending, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "content_filtered",
    "content_filter": "guardrail_intervened",
}
_FAILURES: Final[dict[Failure, tuple[int, str, str]]] = {
    "rate": (429, "ThrottlingException", "Too many requests, please wait before trying again."),
    "quota": (400, "ServiceQuotaExceededException", "Your request exceeds the service quota for your account."),
    "overloaded": (503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
    "server": (500, "InternalServerException", "The system encountered an unexpected error."),
    "denied": (403, "UnrecognizedClientException", "The security token included in the request is invalid."),
    "invalid": (400, "ValidationException", "Value '5' at 'inferenceConfig.temperature' failed to satisfy it."),
    "context": (400, "ValidationException", "Input is too long for requested model."),
    "not_found": (404, "ResourceNotFoundException", "The requested resource was not found."),
}
_PIECE: Final = 8
"""Characters of arguments in an event."""


class Bedrock:
    """Converse and ConverseStream."""

    name = "bedrock"
    keeps_ids = True
    takes_urls = False

    def settings(self, url: str) -> dict[str, Any]:
        """With a key of its own."""
        return {
            "use": "bedrock",
            "region": REGION,
            "endpoint": url,
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
        }

    def whole(self, scenario: Scenario) -> Played:
        """A ConverseResponse."""
        content: list[dict[str, Any]] = []
        if scenario.thoughts:
            thought = {"text": "".join(scenario.thoughts), "signature": scenario.signature}
            content.append({"reasoningContent": {"reasoningText": thought}})
        if scenario.text:
            content.append({"text": scenario.text})
        content += [
            {"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.arguments or {}}}
            for call in scenario.calls
        ]
        body = {
            "metrics": {"latencyMs": 551},
            "output": {"message": {"content": content, "role": "assistant"}},
            "stopReason": _REASONS[scenario.ending],
            "usage": _usage(scenario.told),
        }
        return Played(200, {"content-type": "application/json", **_REQUEST_ID}, (json.dumps(body).encode(),))

    def stream(self, scenario: Scenario) -> Played:
        """Its events."""
        metadata = {"metrics": {"latencyMs": 551}, "usage": _usage(scenario.told), "p": "abcdefg"}
        stop = _event("messageStop", {"stopReason": _REASONS[scenario.ending], "p": "ab"})
        return _streamed([*_opening(scenario), stop, _event("metadata", metadata)])

    def failure(self, failure: Failure) -> Played:
        """The name in a header, the message in the body."""
        status, name, message = _FAILURES[failure]
        kind = f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"
        headers = {"content-type": "application/json", "x-amzn-errortype": kind, **_REQUEST_ID}
        return Played(status, headers, (json.dumps({"message": message}).encode(),))

    def broken_stream(self, scenario: Scenario) -> Played:
        """No messageStop."""
        return _streamed(_opening(scenario))

    def error_in_stream(self, scenario: Scenario) -> Played:
        """An exception among the events."""
        broken = exception("modelStreamErrorException", json.dumps({"message": "scripted break"}).encode())
        return _streamed([*_opening(scenario), broken])

    def is_stream(self, path: str, body: Mapping[str, Any]) -> bool:
        """The operation says it."""
        return path.endswith("/converse-stream")

    def model_of(self, path: str, body: Mapping[str, Any]) -> str:
        """The path says it."""
        return unquote(path.split("/")[2])

    def read(self, path: str, body: Mapping[str, Any]) -> Seen:
        """Out of a ConverseRequest."""
        seen = Seen(model=self.model_of(path, body), stream=self.is_stream(path, body))
        seen.system = "".join(block.get("text", "") for block in body.get("system", ()))
        for message in body["messages"]:
            _read_message(message, seen)
        config = body.get("toolConfig", {})
        for tool in config.get("tools", ()):
            seen.tools[tool["toolSpec"]["name"]] = tool["toolSpec"]["inputSchema"]["json"]
        more = body.get("additionalModelRequestFields", {})
        seen.tool_choice = _read_choice(config.get("toolChoice")) or _read_anthropic_choice(more.get("tool_choice"))
        inference = body.get("inferenceConfig", {})
        seen.output_limit = inference.get("maxTokens")
        seen.temperature, seen.top_p = inference.get("temperature"), inference.get("topP")
        seen.stop = inference.get("stopSequences", [])
        output = body.get("outputConfig", {})
        if form := output.get("textFormat"):
            seen.schema = json.loads(form["structure"]["jsonSchema"]["schema"])
        seen.effort = output.get("effort")
        seen.budget = more.get("thinking", {}).get("budget_tokens")
        return seen


_REQUEST_ID: Final = {"x-amzn-requestid": "2f1b7ad2-6ce7-4d6b-b5e2-6e2b3c5d1f10"}


def _streamed(events: Iterable[bytes]) -> Played:
    return Played(200, {"content-type": "application/vnd.amazon.eventstream", **_REQUEST_ID}, tuple(events))


def _event(name: str, fields: Mapping[str, Any]) -> bytes:
    return event(name, json.dumps(fields).encode())


def _opening(scenario: Scenario) -> list[bytes]:
    events = [_event("messageStart", {"p": "abcdefghij", "role": "assistant"})]
    block = 0
    if scenario.thoughts:
        pieces: list[dict[str, Any]] = [{"text": piece} for piece in scenario.thoughts]
        pieces.append({"signature": scenario.signature})
        events += _block(block, [{"reasoningContent": piece} for piece in pieces])
        block += 1
    if scenario.pieces:
        events += _block(block, [{"text": piece} for piece in scenario.pieces])
        block += 1
    for call in scenario.calls:
        start = {"toolUse": {"name": call.name, "toolUseId": call.id}}
        events.append(_event("contentBlockStart", {"contentBlockIndex": block, "p": "abc", "start": start}))
        events += _block(block, [{"toolUse": {"input": piece}} for piece in _pieces(call)])
        block += 1
    return events


def _block(index: int, deltas: Iterable[Mapping[str, Any]]) -> list[bytes]:
    pieces = [_event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta, "p": "a"}) for delta in deltas]
    return [*pieces, _event("contentBlockStop", {"contentBlockIndex": index, "p": "ab"})]


def _pieces(call: CalledTool) -> Iterable[str]:
    text = "" if call.arguments is None else json.dumps(call.arguments, ensure_ascii=False)
    yield ""
    for start in range(0, len(text), _PIECE):
        yield text[start : start + _PIECE]


def _usage(told: Told) -> dict[str, Any]:
    return {
        "inputTokens": told.input,
        "outputTokens": told.output,
        "totalTokens": told.input + told.output + told.cache_read + told.cache_write,
        "cacheReadInputTokens": told.cache_read,
        "cacheWriteInputTokens": told.cache_write,
        "serverToolUsage": {},
    }


def _read_message(message: Mapping[str, Any], seen: Seen) -> None:
    prose, spoken = "", False
    for block in message["content"]:
        if "text" in block:
            prose += block["text"]
            spoken = True
        elif "image" in block:
            seen.images.append((f"image/{block['image']['format']}", block["image"]["source"]["bytes"]))
        elif "document" in block:
            seen.files.append((block["document"]["format"], block["document"]["source"]["bytes"]))
        elif "toolUse" in block:
            call = block["toolUse"]
            seen.called.append((call["toolUseId"], call["name"], call["input"]))
        elif "toolResult" in block:
            result = block["toolResult"]
            seen.results.append((result["toolUseId"], "".join(piece.get("text", "") for piece in result["content"])))
        elif "reasoningContent" in block:
            thought = block["reasoningContent"].get("reasoningText", {})
            seen.thoughts.append((thought.get("text", ""), thought.get("signature")))
    if spoken or not any("toolResult" in block for block in message["content"]):
        seen.turns.append((message["role"], prose))


def _read_choice(choice: Mapping[str, Any] | None) -> str | None:
    if choice is None:
        return None
    if "tool" in choice:
        return choice["tool"]["name"]
    return "required" if "any" in choice else "auto"


def _read_anthropic_choice(choice: Mapping[str, Any] | None) -> str | None:
    """As Anthropic's models on Bedrock take it, for what Converse has no field for."""
    return None if choice is None else choice.get("name") or {"any": "required"}.get(choice["type"], choice["type"])
