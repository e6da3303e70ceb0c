"""Amazon SageMaker's endpoints as a scripted server, with containers that speak OpenAI's chat completions.

Source: the service's model in botocore, which reads what is written here in tests/unit/adapters.
"""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from tests.support.scripted.bedrock import ACCESS_KEY, REGION, SECRET_KEY
from tests.support.scripted.eventstream import event, exception
from tests.support.scripted.openai import OpenAI
from tests.support.scripted.scenarios import Failure, Played, Scenario, Seen

_FAILURES: Final[dict[Failure, tuple[int, str]]] = {
    "rate": (429, "ThrottlingException"),
    "overloaded": (503, "ServiceUnavailable"),
    "server": (500, "InternalFailure"),
    "denied": (403, "AccessDeniedException"),
    "not_found": (400, "ValidationError"),
}
_PART_BYTES: Final = 100


class SageMaker:
    """InvokeEndpoint and InvokeEndpointWithResponseStream."""

    name = "sagemaker"
    keeps_ids = True
    takes_urls = True

    def __init__(self) -> None:
        self._container = OpenAI()

    def settings(self, url: str) -> dict[str, Any]:
        """With a key of its own."""
        keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
        return {"use": "sagemaker", "region": REGION, "endpoint": url, **keys}

    def whole(self, scenario: Scenario) -> Played:
        """What the container says."""
        return self._container.whole(scenario)

    def stream(self, scenario: Scenario) -> Played:
        """The same in events."""
        return _wrapped(self._container.stream(scenario))

    def failure(self, failure: Failure) -> Played:
        """The service's own errors, and those of the container inside a ModelError."""
        status, name = _FAILURES.get(failure, (424, "ModelError"))
        message = f"scripted {failure}"
        body: dict[str, Any] = {"Message": message, "message": message}
        if failure == "not_found":
            body["message"] = "Endpoint fail-not_found of account 123456789012 not found."
        if name == "ModelError":
            inner = self._container.failure(failure)
            body |= {"OriginalStatusCode": inner.status, "OriginalMessage": inner.chunks[0].decode()}
        headers = {"content-type": "application/json", "x-amzn-errortype": name}
        return Played(status, headers, (json.dumps(body).encode(),))

    def broken_stream(self, scenario: Scenario) -> Played:
        """No finish."""
        return _wrapped(self._container.broken_stream(scenario))

    def error_in_stream(self, scenario: Scenario) -> Played:
        """An exception among the events."""
        played = self.broken_stream(scenario)
        told = {"Message": "scripted break", "ErrorCode": "StreamBroken"}
        broken = exception("ModelStreamError", json.dumps(told).encode())
        return Played(200, played.headers, (*played.chunks, broken))

    def is_stream(self, path: str, body: Mapping[str, Any]) -> bool:
        """The operation says it."""
        return path.endswith("-stream")

    def model_of(self, path: str, body: Mapping[str, Any]) -> str:
        """The path says it."""
        return unquote(path.split("/")[2])

    def read(self, path: str, body: Mapping[str, Any]) -> Seen:
        """As the container reads it."""
        seen = self._container.read(path, body)
        seen.model, seen.stream = self.model_of(path, body), self.is_stream(path, body)
        return seen


def _wrapped(played: Played) -> Played:
    data = b"".join(played.chunks)
    parts = [data[start : start + _PART_BYTES] for start in range(0, len(data), _PART_BYTES)]
    events = [event("PayloadPart", part, "application/octet-stream") for part in parts]
    headers = {
        "content-type": "application/vnd.amazon.eventstream",
        "x-amzn-sagemaker-content-type": "text/event-stream",
    }
    return Played(200, headers, tuple(events))
