"""Any OpenTelemetry collector, as log records over OTLP/HTTP with the attributes for generative AI.

Sources: https://opentelemetry.io/docs/specs/otlp/#otlphttp, https://opentelemetry.io/docs/specs/semconv/gen-ai/,
https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/logs/v1/logs.proto
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyforge import __version__
from polyforge.egress.delivery import deliver
from polyforge.egress.http import HttpClient
from polyforge.kernel.errors import Unavailable
from polyforge.kernel.request_log import LoggedRequest, RequestBatch
from polyforge.ports.request_log_sink import SEND_SECONDS
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.references import SecretRef
from polyforge.telemetry.gen_ai import operation_of
from polyforge.telemetry.logs import get_logger
from polyforge.telemetry.protobuf import Attribute, attribute, nested, number

EVENT: Final = b"gen_ai.client.inference.operation.details"
_PATH: Final = "/v1/logs"
_ANSWER_BYTES: Final = 65_536
_MICRO: Final = 1_000_000
_TIME, _OBSERVED = 1, 11
_SEVERITIES: Final = {"ok": (9, b"INFO"), "cancelled": (13, b"WARN")}
_ERROR: Final = (17, b"ERROR")
_RESOURCE: Final = {"service.name": "polyforge", "service.version": __version__}

_log = get_logger(__name__)


class Settings(BaseModel):
    """A collector and how it is spoken to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str = Field(description="Base URL of the collector; `/v1/logs` is added to it.")
    headers: dict[str, SecretRef] = Field(default_factory=dict, description="Sent with every batch.")
    timeout_seconds: float = Field(default=10.0, gt=0, lt=SEND_SECONDS, description="For one batch altogether.")
    gather_seconds: float = Field(default=1.0, ge=0, le=3600, description="How long requests wait for others.")

    @field_validator("endpoint")
    @classmethod
    def _is_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http:// or https:// address")
        return url.rstrip("/").removesuffix(_PATH)


class OtlpSink:
    """Posts a log record per request."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.gather_seconds = settings.gather_seconds
        self._client: HttpClient | None = None
        self._secrets: SecretSource | None = None

    async def open(self, secrets: SecretSource) -> None:
        """Look whether the secrets are there; those of the database may come later. SettingsError without one."""
        self._secrets = secrets
        for reference in self._settings.headers.values():
            if reference.name is None:
                reference.reveal()
        headers = {"content-type": "application/x-protobuf", "user-agent": "polyforge"}
        self._client = HttpClient(self._settings.endpoint, headers, self._settings.timeout_seconds, max_connections=1)

    async def close(self) -> None:
        """Hang up."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def send(self, batch: RequestBatch) -> None:
        """Post them. What a collector leaves out although it took the batch is not sent again, as OTLP wants it."""
        if self._client is None:
            raise Unavailable("the sink is not open")
        body = await asyncio.to_thread(encode_logs, batch.requests)
        headers = {name: reference.reveal(self._secrets) for name, reference in self._settings.headers.items()}
        answer = await deliver(
            self._client.post(_PATH, body, {}, headers), self._settings.timeout_seconds, _ANSWER_BYTES
        )
        answer.require_taken()
        if answer.body not in (b"", b"{}"):
            _log.warning("the collector took a batch of requests with reservations", endpoint=self._settings.endpoint)


def encode_logs(requests: Sequence[LoggedRequest]) -> bytes:
    """An ExportLogsServiceRequest."""
    resource = b"".join(attribute(1, key, value) for key, value in _RESOURCE.items())
    scope = nested(1, nested(1, b"polyforge"))
    records = b"".join(nested(2, _encode(request)) for request in requests)
    return nested(1, nested(1, resource) + nested(2, scope + records))


def _encode(request: LoggedRequest) -> bytes:
    severity, name = _SEVERITIES.get(request.status, _ERROR)
    facts = b"".join(attribute(6, key, value) for key, value in _attributes(request) if value is not None)
    return b"".join(
        (
            _fixed(_TIME, request.started_at),
            number(2, severity),
            nested(3, name),
            facts,
            _fixed(_OBSERVED, request.ended_at),
            nested(12, EVENT),
        )
    )


def _fixed(field: int, seconds: float) -> bytes:
    """A moment as a fixed64 of nanoseconds; floats hold no more than microseconds of it."""
    return bytes((field << 3 | 1,)) + (1_000 * round(seconds * _MICRO)).to_bytes(8, "little")


def _attributes(request: LoggedRequest) -> Iterable[tuple[str, Attribute | None]]:
    usage = request.usage
    return (
        ("gen_ai.operation.name", operation_of(request.task)),
        ("gen_ai.provider.name", request.provider or None),
        ("gen_ai.request.model", request.model),
        ("gen_ai.response.model", request.deployment or None),
        ("gen_ai.usage.input_tokens", usage.input_total),
        ("gen_ai.usage.output_tokens", usage.output),
        ("gen_ai.usage.cache_read.input_tokens", usage.cache_read or None),
        ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write or None),
        ("gen_ai.usage.reasoning.output_tokens", usage.reasoning or None),
        ("http.response.status_code", request.http_status or None),
        ("error.type", request.status if request.failed else None),
        ("polyforge.request.id", request.id),
        ("polyforge.organization.id", request.organization_id),
        ("polyforge.project.id", request.project_id),
        ("polyforge.key.id", request.key_id),
        ("polyforge.status", request.status),
        ("polyforge.stream", request.stream),
        ("polyforge.duration_ms", request.duration_ms),
        ("polyforge.cost_micros", request.cost),
        ("polyforge.price_micros", request.price),
        ("polyforge.usage.exact", usage.exact),
        ("polyforge.usage.images", usage.images or None),
        ("polyforge.usage.milliseconds", usage.milliseconds or None),
        ("polyforge.usage.characters", usage.characters or None),
    )


ADAPTER = OtlpSink
