"""Any OpenTelemetry collector, as log records over OTLP/HTTP with the attributes for generative AI.

Sources: https://opentelemetry.io/docs/specs/otlp/#otlphttp, https://opentelemetry.io/docs/specs/semconv/gen-ai/,
https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/logs/v1/logs.proto
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import json
from pydantic import BaseModel, ConfigDict, Field

from polyforge import __version__
from polyforge.egress.addresses import HttpBase
from polyforge.kernel.request_log import LoggedRequest, RequestBatch
from polyforge.ports.request_log_sink import SEND_SECONDS
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.references import SecretRef
from polyforge.telemetry.gen_ai import operation_of
from polyforge.telemetry.logs import get_logger
from polyforge.telemetry.protobuf import Attribute, attribute, nested, number
from polyforge.upstreams.receivers import Receiver

EVENT: Final = b"gen_ai.client.inference.operation.details"
_TYPE: Final = "application/x-protobuf"
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

    endpoint: HttpBase = Field(description="Base URL of the collector; `/v1/logs` is added to it.")
    headers: dict[str, SecretRef] = Field(default_factory=dict, description="Sent with every batch.")
    timeout_seconds: float = Field(default=10.0, gt=0, lt=SEND_SECONDS, description="For one batch altogether.")
    gather_seconds: float = Field(default=1.0, ge=0, le=3600, description="How long requests wait for others.")

    @property
    def base(self) -> str:
        """The endpoint without the path, with which many people write it down."""
        return self.endpoint.rstrip("/").removesuffix(_PATH)


class OtlpSink:
    """Posts a log record per request."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.gather_seconds = settings.gather_seconds
        references = settings.headers.values()
        self._receiver = Receiver(settings.base, _TYPE, settings.timeout_seconds, references, _ANSWER_BYTES)

    async def open(self, secrets: SecretSource) -> None:
        """Look whether the secrets are there; those of the database may come later. SettingsError without one."""
        await self._receiver.open(secrets)

    async def close(self) -> None:
        """Hang up."""
        await self._receiver.close()

    async def send(self, batch: RequestBatch) -> None:
        """Post them. What a collector leaves out although it took the batch is not sent again, as OTLP wants it."""
        body = await asyncio.to_thread(encode_logs, batch.requests)
        headers = {name: self._receiver.reveal(reference) for name, reference in self._settings.headers.items()}
        answer = await self._receiver.post(_PATH, body, headers)
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
            nested(9, bytes.fromhex(request.trace_id)) if request.trace_id else b"",
            _fixed(_OBSERVED, request.ended_at),
            nested(12, EVENT),
        )
    )


def _fixed(field: int, seconds: float) -> bytes:
    """A moment as a fixed64 of nanoseconds; floats hold no more than microseconds of it."""
    return bytes((field << 3 | 1,)) + (1_000 * round(seconds * _MICRO)).to_bytes(8, "little")


def _attributes(request: LoggedRequest) -> Iterable[tuple[str, Attribute | None]]:
    usage = request.usage
    hops = [(f"polyforge.hop.{hop.name}_us", hop.microseconds) for hop in request.hops]
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
        ("error.type", (request.error or request.status) if request.failed else None),
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
        ("polyforge.saved_micros", request.saved or None),
        ("polyforge.cached", request.cached or None),
        ("polyforge.user.id", request.user_id or None),
        ("polyforge.tags", ",".join(request.tags) or None),
        ("polyforge.path", request.path or None),
        ("polyforge.first_token_us", None if request.first_token_ms is None else round(request.first_token_ms * 1000)),
        ("polyforge.upstream_us", round(request.upstream_ms * 1000)),
        ("polyforge.attempts", len(request.attempts)),
        ("polyforge.tried", json.encode(request.attempts).decode() if request.attempts else None),
        *hops,
    )


ADAPTER = OtlpSink
