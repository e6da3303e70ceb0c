"""Langfuse: a trace and a generation per request, through its ingestion API.

Source: https://api.reference.langfuse.com (POST /api/public/ingestion)
"""

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from polyforge.egress.addresses import HttpBase
from polyforge.kernel.errors import Invalid, Unavailable
from polyforge.kernel.request_log import LoggedRequest, RequestBatch, iso_time
from polyforge.ports.request_log_sink import SEND_SECONDS
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.references import SecretRef
from polyforge.upstreams.receivers import Receiver

_TYPE: Final = "application/json"
_PATH: Final = "/api/public/ingestion"
_ANSWER_BYTES: Final = 4 * 1024 * 1024
_SLICE: Final = 500
"""Requests in one call, of some 4 kB each: Langfuse takes 3.5 MB."""
_MICRO: Final = 1_000_000
_REFUSED: Final = range(400, 500)
_RATE_LIMITED: Final = 429


class Settings(BaseModel):
    """A project of Langfuse."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: HttpBase = Field(default="https://cloud.langfuse.com", description="Where Langfuse is.")
    public_key: SecretRef = Field(description="The project's public key.")
    secret_key: SecretRef = Field(description="The project's secret key.")
    environment: str | None = Field(
        default=None, pattern=r"^[a-z0-9_-]{1,40}$", description="Langfuse's environment of the traces."
    )
    timeout_seconds: float = Field(default=10.0, gt=0, lt=SEND_SECONDS, description="For one call.")
    gather_seconds: float = Field(default=2.0, ge=0, le=3600, description="How long requests wait for others.")


class _Problem(msgspec.Struct):
    status: int = 500


class _Report(msgspec.Struct):
    """What Langfuse says of the events of a batch."""

    errors: list[_Problem] = []


class LangfuseSink:
    """Posts batches; ids follow from those of the requests, so what comes again changes nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.gather_seconds = settings.gather_seconds
        keys = (settings.public_key, settings.secret_key)
        self._receiver = Receiver(settings.base_url.rstrip("/"), _TYPE, settings.timeout_seconds, keys, _ANSWER_BYTES)

    async def open(self, secrets: SecretSource) -> None:
        """Look whether the keys are there; those of the database may come later. SettingsError without one."""
        await self._receiver.open(secrets)

    async def close(self) -> None:
        """Hang up."""
        await self._receiver.close()

    async def send(self, batch: RequestBatch) -> None:
        """Post them. Langfuse answers 207 and tells of each event that it did not take."""
        for start in range(0, len(batch.requests), _SLICE):
            await self._post(batch.requests[start : start + _SLICE])

    async def _post(self, requests: Sequence[LoggedRequest]) -> None:
        body = await asyncio.to_thread(encode_events, requests, self._settings.environment)
        answer = await self._receiver.post(_PATH, body, {"authorization": f"Basic {self._credentials()}"})
        answer.require_taken()
        _require_all_taken(answer.body)

    def _credentials(self) -> str:
        public, secret = (self._receiver.reveal(key) for key in (self._settings.public_key, self._settings.secret_key))
        return b64encode(f"{public}:{secret}".encode()).decode()


def _require_all_taken(body: bytes) -> None:
    try:
        report = msgspec.json.decode(body, type=_Report)
    except (ValueError, RecursionError) as error:
        raise Unavailable("the sink did not say what it took") from error
    statuses = {problem.status for problem in report.errors}
    if any(status not in _REFUSED or status == _RATE_LIMITED for status in statuses):
        raise Unavailable("the sink could not take everything")
    if statuses:
        raise Invalid(f"the sink refused an event with {min(statuses)}")


def encode_events(requests: Sequence[LoggedRequest], environment: str | None) -> bytes:
    """The body of a call."""
    return msgspec.json.encode({"batch": [event for each in requests for event in _events(each, environment)]})


def _events(request: LoggedRequest, environment: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    begun, ended = iso_time(request.started_at), iso_time(request.ended_at)
    placed = {} if environment is None else {"environment": environment}
    metadata = {
        "organization_id": request.organization_id,
        "project_id": request.project_id,
        "provider": request.provider,
        "deployment": request.deployment,
        "status": request.status,
        "http_status": request.http_status,
        "stream": request.stream,
        "price_usd": request.price / _MICRO,
        "cached": request.cached,
        "path": request.path,
        "upstream_ms": request.upstream_ms,
        "hops_us": {hop.name: hop.microseconds for hop in request.hops},
        "attempts": request.attempts,
        "trace_id": request.trace_id,
    }
    trace = {
        "id": request.id,
        "timestamp": begun,
        "name": request.task,
        "userId": request.key_id,
        "tags": request.tags,
        "metadata": metadata,
        **placed,
    }
    generation = {
        "id": f"{request.id}-generation",
        "traceId": request.id,
        "name": request.task,
        "startTime": begun,
        "endTime": ended,
        "completionStartTime": _first_token_of(request),
        "model": request.deployment or request.model,
        "usageDetails": _usage(request),
        "costDetails": {"total": request.cost / _MICRO},
        "level": "ERROR" if request.failed else "DEFAULT",
        "statusMessage": (request.error or request.status) if request.failed else None,
        "metadata": metadata,
        **placed,
    }
    return (
        {"id": f"{request.id}-trace-event", "timestamp": ended, "type": "trace-create", "body": trace},
        {"id": f"{request.id}-generation-event", "timestamp": ended, "type": "generation-create", "body": generation},
    )


def _first_token_of(request: LoggedRequest) -> str | None:
    """When the first content of a stream was there."""
    after = request.first_token_ms
    return None if after is None else iso_time(request.started_at + after / 1000)


def _usage(request: LoggedRequest) -> dict[str, int]:
    """Parts that add up: what is cached is not counted as input again, nor what is thought as output."""
    usage = request.usage
    parts = {
        "input": usage.input,
        "input_cached_tokens": usage.cache_read,
        "input_cache_creation": usage.cache_write,
        "output": usage.output - usage.reasoning,
        "output_reasoning_tokens": usage.reasoning,
    }
    return {name: count for name, count in parts.items() if count} | {"total": usage.total}


ADAPTER = LangfuseSink
