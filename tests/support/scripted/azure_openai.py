"""Azure OpenAI as a scripted server: OpenAI's, with deployments in its paths and the words of its content filter.

Source: https://learn.microsoft.com/en-us/azure/ai-services/openai/reference and the official client, which reads it.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from tests.support.scripted.openai import OpenAI
from tests.support.scripted.scenarios import Failure, Played, Scenario

VERSION: Final = "2024-10-21"
_SAFE: Final = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_FAILURES: Final[dict[Failure, tuple[int, str, str]]] = {
    "rate": (429, "429", "Requests have exceeded the token rate limit of your tier. Please retry after 7 seconds."),
    "quota": (429, "insufficient_quota", "scripted quota"),
    "overloaded": (503, "InternalServerError", "The service is temporarily unable. Please retry after 7 seconds."),
    "server": (500, "InternalServerError", "scripted server"),
    "denied": (401, "401", "Access denied due to invalid subscription key or wrong API endpoint."),
    "invalid": (400, "invalid_value", "scripted invalid"),
    "context": (400, "context_length_exceeded", "scripted context"),
    "not_found": (404, "DeploymentNotFound", "The API deployment for this resource does not exist."),
}


class AzureOpenAI(OpenAI):
    """Chat completions of deployments."""

    name = "azure_openai"

    def settings(self, url: str) -> dict[str, Any]:
        """With a key of the resource."""
        return {"use": "azure_openai", "endpoint": url, "api_key": "sk-scripted"}

    def whole(self, scenario: Scenario) -> Played:
        """A chat.completion with what the filter says."""
        played = super().whole(scenario)
        body = json.loads(played.chunks[0])
        body["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": _SAFE}]
        body["choices"][0]["content_filter_results"] = _SAFE
        return Played(played.status, played.headers, (json.dumps(body).encode(),))

    def stream(self, scenario: Scenario) -> Played:
        """What the filter says of the prompt comes first, in a chunk without choices, id and model."""
        return _filtered(super().stream(scenario))

    def broken_stream(self, scenario: Scenario) -> Played:
        """No finish, no [DONE]."""
        return _filtered(super().broken_stream(scenario))

    def error_in_stream(self, scenario: Scenario) -> Played:
        """An event that holds an error."""
        return _filtered(super().error_in_stream(scenario))

    def failure(self, failure: Failure) -> Played:
        """An error envelope; how long to wait stands in its words alone."""
        status, code, message = _FAILURES[failure]
        error: dict[str, Any] = {"code": code, "message": message}
        if failure == "invalid":
            error |= {"param": "temperature", "type": "invalid_request_error"}
        headers = {"content-type": "application/json", "apim-request-id": "req_1"}
        if failure == "rate":
            headers |= {"x-ratelimit-remaining-requests": "-1", "x-ratelimit-remaining-tokens": "0"}
        return Played(status, headers, (json.dumps({"error": error}).encode(),))

    def model_of(self, path: str, body: Mapping[str, Any]) -> str:
        """The path says it."""
        assert path.startswith("/openai/deployments/"), path
        assert path.endswith(f"?api-version={VERSION}"), path
        return path.split("/")[3]


def _filtered(played: Played) -> Played:
    first = {
        "choices": [],
        "created": 0,
        "id": "",
        "model": "",
        "object": "",
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}],
    }
    event = b"data: " + json.dumps(first).encode() + b"\n\n"
    return Played(played.status, played.headers, (event, *played.chunks))
