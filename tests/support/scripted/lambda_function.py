"""AWS Lambda as a scripted server, with functions that speak OpenAI's chat completions.

Source: the service's model in botocore, which reads what is written here in tests/unit/adapters.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

from tests.support.scripted.bedrock import ACCESS_KEY, REGION, SECRET_KEY
from tests.support.scripted.eventstream import event
from tests.support.scripted.openai import OpenAI
from tests.support.scripted.scenarios import Failure, Played, Scenario, Seen
from tests.support.scripted.server import ScriptedServer

_JSON: Final = {"content-type": "application/json"}
_STREAM: Final = {"content-type": "application/vnd.amazon.eventstream"}
_FAILURES: Final[dict[Failure, tuple[int, str]]] = {
    "rate": (429, "TooManyRequestsException"),
    "quota": (402, "ServiceQuotaExceededException"),
    "denied": (403, "AccessDeniedException"),
    "overloaded": (502, "ResourceNotReadyException"),
    "not_found": (404, "ResourceNotFoundException"),
}


class LambdaFunction:
    """Invoke and InvokeWithResponseStream."""

    name = "lambda_function"
    keeps_ids = True
    takes_urls = True

    def __init__(self) -> None:
        self._function = OpenAI()

    def settings(self, url: str) -> dict[str, Any]:
        """With a key of its own."""
        keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
        return {"use": "lambda_function", "region": REGION, "endpoint": url, **keys}

    def whole(self, scenario: Scenario) -> Played:
        """What the function gives back."""
        return self._function.whole(scenario)

    def stream(self, scenario: Scenario) -> Played:
        """The same in events."""
        return _wrapped(self._function.stream(scenario), {})

    def failure(self, failure: Failure) -> Played:
        """Lambda's own errors, an exception in the function, or a status that it gives back itself."""
        if failure == "server":
            said = {"errorMessage": "2026-11-01 Task timed out after 3.00 seconds", "errorType": "Sandbox.Timedout"}
            return Played(200, {**_JSON, "x-amz-function-error": "Unhandled"}, (json.dumps(said).encode(),))
        if failure not in _FAILURES:
            inner = self._function.failure(failure)
            response = {"statusCode": inner.status, "headers": dict(_JSON), "body": inner.chunks[0].decode()}
            return Played(200, _JSON, (json.dumps(response).encode(),))
        status, name = _FAILURES[failure]
        retry = {"retry-after": "7"} if failure == "rate" else {}
        body = {"Type": "User", "Message": f"scripted {failure}"}
        return Played(status, {**_JSON, "x-amzn-errortype": name, **retry}, (json.dumps(body).encode(),))

    def broken_stream(self, scenario: Scenario) -> Played:
        """A function that ended too early."""
        return _wrapped(self._function.broken_stream(scenario), {})

    def error_in_stream(self, scenario: Scenario) -> Played:
        """A function that failed under way."""
        details = {"ErrorCode": "Unhandled", "ErrorDetails": "scripted break"}
        return _wrapped(self._function.broken_stream(scenario), details)

    def is_stream(self, path: str, body: Mapping[str, Any]) -> bool:
        """The operation says it."""
        return path.endswith("/response-streaming-invocations")

    def model_of(self, path: str, body: Mapping[str, Any]) -> str:
        """The path says it."""
        return unquote(path.split("/")[3])

    def read(self, path: str, body: Mapping[str, Any]) -> Seen:
        """As the function reads it."""
        seen = self._function.read(path, body)
        seen.model = self.model_of(path, body)
        return seen


class LambdaServer(ScriptedServer):
    """Streams what functions say themselves, refusals as well."""

    def __init__(self) -> None:
        super().__init__(LambdaFunction())

    def _answer(self, model: str, *, stream: bool) -> Played:
        played = super()._answer(model, stream=stream)
        return streamed(played) if stream and played.status == HTTPStatus.OK else played


def streamed(played: Played) -> Played:
    """How what a function says in JSON comes from InvokeWithResponseStream."""
    if played.headers["content-type"] != _JSON["content-type"]:
        return played
    end = {"ErrorCode": "Unhandled", "ErrorDetails": "scripted"} if "x-amz-function-error" in played.headers else {}
    return _wrapped(played, end)


def _wrapped(played: Played, end: Mapping[str, str]) -> Played:
    parts = [event("PayloadChunk", chunk, "application/octet-stream") for chunk in played.chunks]
    return Played(200, _STREAM, (*parts, event("InvokeComplete", json.dumps(end).encode())))
