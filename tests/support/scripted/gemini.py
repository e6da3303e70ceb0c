"""Gemini's generateContent as a scripted server: the Gemini API, and with other addresses Vertex AI.

Source: https://ai.google.dev/api/generate-content and the types of the official client, google-genai, which reads it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.behaviours import Behaviour, vector_of
from tests.support.scripted.scenarios import CalledTool, Ending, Failure, Played, Scenario, Seen, Told
from tests.support.scripted.server import Playing, ScriptedServer
from tests.support.upstream import Received, Upstream

_REASONS: Final[dict[Ending, str]] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "refusal": "STOP",
    "content_filter": "SAFETY",
}
_TYPES: Final = "type.googleapis.com/google.rpc."
_RETRY: Final = {"@type": f"{_TYPES}RetryInfo", "retryDelay": "7s"}
_HELP: Final = {"@type": f"{_TYPES}Help", "links": [{"description": "Learn more", "url": "https://ai.google.dev/"}]}
_KEY_INVALID: Final = {"@type": f"{_TYPES}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
_FIELD: Final = {
    "@type": f"{_TYPES}BadRequest",
    "fieldViolations": [{"field": "generation_config.temperature", "description": "out of range"}],
}
_CALLERS_OWN: Final = frozenset({"args", "response", "parametersJsonSchema", "responseJsonSchema"})
"""Fields in which names are not Google's."""
_TOO_LONG: Final = "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576)."


def _quota(period: str) -> dict[str, Any]:
    """A QuotaFailure."""
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": f"GenerateRequests{period}PerProjectPerModel-FreeTier",
        "quotaDimensions": {"location": "global", "model": "gemini-scripted"},
        "quotaValue": "15",
    }
    return {"@type": f"{_TYPES}QuotaFailure", "violations": [violation]}


_FAILURES: Final[dict[Failure, tuple[int, str, str, list[dict[str, Any]]]]] = {
    "rate": (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", [_HELP, _quota("PerMinute"), _RETRY]),
    "quota": (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", [_HELP, _quota("PerDay"), _RETRY]),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", []),
    "server": (500, "INTERNAL", "An internal error has occurred.", []),
    "denied": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [_KEY_INVALID]),
    "invalid": (400, "INVALID_ARGUMENT", "* GenerateContentRequest.generation_config.temperature", [_FIELD]),
    "context": (400, "INVALID_ARGUMENT", _TOO_LONG, []),
    "not_found": (404, "NOT_FOUND", "models/x is not found for API version v1beta.", []),
}


class Gemini:
    """The Gemini API; calls have ids, as with the third generation."""

    name = "gemini"
    keeps_ids = True
    takes_urls = True

    def settings(self, url: str) -> dict[str, Any]:
        """With a key."""
        return {"use": "gemini", "base_url": f"{url}/v1beta", "api_key": "sk-scripted"}

    def whole(self, scenario: Scenario) -> Played:
        """A GenerateContentResponse, laid out over many lines as Google does."""
        parts: list[dict[str, Any]] = [{"text": "".join(scenario.thoughts), "thought": True}] * bool(scenario.thoughts)
        if scenario.text:
            prose = {"text": scenario.text}
            parts.append(prose | {"thoughtSignature": scenario.signature} if scenario.signature else prose)
        parts += [self.call(call) for call in scenario.calls]
        candidate = _candidate(parts, _REASONS[scenario.ending])
        body = {"candidates": [candidate], "usageMetadata": _usage(scenario.told), **_NAMES}
        return answered(body)

    def stream(self, scenario: Scenario) -> Played:
        """Its pieces. The last one has the finish, and the signature on a text without a character."""
        last: dict[str, Any] = {"text": ""}
        if scenario.signature:
            last["thoughtSignature"] = scenario.signature
        body = {"candidates": [_candidate([last], _REASONS[scenario.ending])], "usageMetadata": _usage(scenario.told)}
        return _streamed([*self._opening(scenario), _event(body | _NAMES)])

    def failure(self, failure: Failure) -> Played:
        """A google.rpc.Status."""
        status, name, message, details = _FAILURES[failure]
        error = {"code": status, "message": message, "status": name, "details": details}
        return answered({"error": error}, status)

    def broken_stream(self, scenario: Scenario) -> Played:
        """No finish."""
        return _streamed(self._opening(scenario))

    def error_in_stream(self, scenario: Scenario) -> Played:
        """An event that holds an error."""
        error = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}
        return _streamed([*self._opening(scenario), _event({"error": error})])

    def is_stream(self, path: str, body: Mapping[str, Any]) -> bool:
        """The address says it."""
        return ":streamGenerateContent" in path

    def model_of(self, path: str, body: Mapping[str, Any]) -> str:
        """The address says it."""
        return unquote(urlsplit(path).path).rpartition("/")[2].partition(":")[0]

    def read(self, path: str, body: Mapping[str, Any]) -> Seen:
        """Out of a generateContent request."""
        body = _camel(body)
        settings = body.get("generationConfig") or {}
        thinking = settings.get("thinkingConfig") or {}
        seen = Seen(
            model=self.model_of(path, body),
            stream=self.is_stream(path, body),
            system="".join(part["text"] for part in (body.get("systemInstruction") or {"parts": []})["parts"]),
            schema=settings.get("responseJsonSchema"),
            output_limit=settings.get("maxOutputTokens"),
            temperature=settings.get("temperature"),
            top_p=settings.get("topP"),
            stop=settings.get("stopSequences") or [],
            effort=thinking.get("thinkingLevel"),
            budget=thinking.get("thinkingBudget"),
        )
        for content in body.get("contents", ()):
            _read_content(content, seen)
        for tool in body.get("tools", ()):
            for function in tool["functionDeclarations"]:
                seen.tools[function["name"]] = function.get("parametersJsonSchema")
        if (config := (body.get("toolConfig") or {}).get("functionCallingConfig")) is not None:
            mode = {"AUTO": "auto", "NONE": "none", "ANY": "required"}[config["mode"]]
            seen.tool_choice = next(iter(config.get("allowedFunctionNames", ())), mode)
        return seen

    def call(self, call: CalledTool) -> dict[str, Any]:
        """A call as a part."""
        written: dict[str, Any] = {"name": call.name}
        if call.arguments is not None:
            written["args"] = call.arguments
        return {"functionCall": written | ({"id": call.id} if self.keeps_ids else {})}

    def _opening(self, scenario: Scenario) -> list[bytes]:
        parts: list[dict[str, Any]] = [{"text": piece, "thought": True} for piece in scenario.thoughts]
        parts += [{"text": piece} for piece in scenario.pieces]
        parts += [self.call(call) for call in scenario.calls]
        told = _usage(scenario.told)
        begun = {"promptTokenCount": told["promptTokenCount"], "totalTokenCount": told["promptTokenCount"]}
        return [_event({"candidates": [_candidate([part])], "usageMetadata": begun} | _NAMES) for part in parts]


class GeminiServer(ScriptedServer):
    """Lists models on two pages, and embeds."""

    def __init__(self) -> None:
        super().__init__(Gemini())

    def note(self, request: Received) -> Behaviour:
        """Write down what is asked; the answer follows from the path, and the model."""
        if urlsplit(request.path).path.endswith("/models"):
            Upstream.note(self, request)
            return Playing(_models_answer(request.path))
        if request.path.endswith(":batchEmbedContents"):
            Upstream.note(self, request)
            return Playing(_vectors_answer(_camel(request.json)))
        return super().note(request)


def _models_answer(path: str) -> Played:
    is_last = parse_qs(urlsplit(path).query).get("pageToken") == ["more/2"]
    names = ["models/gemini-scripted-pro"] if is_last else ["models/gemini-scripted", "models/embedding-scripted"]
    body: dict[str, Any] = {"models": [{"name": name, "displayName": name} for name in names]}
    return answered(body if is_last else body | {"nextPageToken": "more/2"})


def _vectors_answer(body: Mapping[str, Any]) -> Played:
    vectors = [
        {"values": vector_of(one["content"]["parts"][0]["text"], one.get("outputDimensionality", 4))}
        for one in body["requests"]
    ]
    return answered({"embeddings": vectors, "usageMetadata": {"promptTokenCount": 3 * len(vectors)}})


def answered(body: Mapping[str, Any], status: int = 200) -> Played:
    """An answer in JSON, laid out over many lines as Google does."""
    content = json.dumps(body, indent=2, ensure_ascii=False).encode()
    return Played(status, {"content-type": "application/json; charset=UTF-8", "server": "ESF"}, (content,))


_NAMES: Final = {"modelVersion": "gemini-scripted-001", "responseId": "bWFrZS1iZWxpZXZl"}


def _camel(value: Any) -> Any:
    """The same with the names that JSON has for fields: Google's servers take those of the protocol too."""
    if isinstance(value, list):
        return [_camel(item) for item in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    renamed: dict[str, Any] = {}
    for name, content in cast(dict[str, Any], value).items():
        first, *rest = name.split("_")
        camel = first + "".join(word.capitalize() for word in rest)
        renamed[camel] = content if camel in _CALLERS_OWN else _camel(content)
    return renamed


def _candidate(parts: list[dict[str, Any]], reason: str | None = None) -> dict[str, Any]:
    content = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    return {"content": content, "index": 0} | ({"finishReason": reason} if reason else {})


def _event(fields: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(fields, ensure_ascii=False)}\r\n\r\n".encode()


def _streamed(events: Iterable[bytes]) -> Played:
    return Played(200, {"content-type": "text/event-stream"}, tuple(events) or (b"\r\n",))


def _usage(told: Told) -> dict[str, Any]:
    """As Google tells it: zeros are left out, thoughts stand beside the candidates."""
    prompt = told.input + told.cache_read + told.cache_write
    counts = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": told.output - told.reasoning,
        "totalTokenCount": prompt + told.output,
        "cachedContentTokenCount": told.cache_read,
        "thoughtsTokenCount": told.reasoning,
    }
    details = [{"modality": "TEXT", "tokenCount": prompt}]
    return {name: count for name, count in counts.items() if count} | {"promptTokensDetails": details}


def _read_content(content: Mapping[str, Any], seen: Seen) -> None:
    role = {"user": "user", "model": "assistant"}[content["role"]]
    prose, thoughts, signature = "", "", None
    for part in content["parts"]:
        if "functionCall" in part:
            call = part["functionCall"]
            seen.called.append((call.get("id", ""), call["name"], call.get("args") or {}))
            signature = part.get("thoughtSignature", signature)
        elif "functionResponse" in part:
            result = part["functionResponse"]
            text = result["response"].get("output", result["response"].get("error"))
            seen.results.append((result.get("id") or result["name"], text))
        elif part.get("thought"):
            thoughts += part["text"]
        elif "text" in part:
            prose += part["text"]
            signature = part.get("thoughtSignature", signature)
        else:
            _read_media(part, seen)
    if prose or "functionResponse" not in content["parts"][0]:
        seen.turns.append((role, prose))
    if thoughts or signature:
        seen.thoughts.append((thoughts, signature))


def _read_media(part: Mapping[str, Any], seen: Seen) -> None:
    blob, file = part.get("inlineData"), part.get("fileData")
    found = (blob["mimeType"], blob["data"]) if blob else (None, part["fileData"]["fileUri"])
    media_type = (blob or file or {})["mimeType"]
    (seen.images if media_type.startswith("image/") else seen.files).append(found)
