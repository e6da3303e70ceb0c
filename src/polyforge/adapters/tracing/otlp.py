"""Sends traces to any OpenTelemetry collector, as OTLP over HTTP with protobuf bodies.

The few messages that a trace needs are encoded here. Ten spans cost 40 us this way, a tenth of what the OpenTelemetry
SDK takes, and no library comes along (docs/decisions/0009-tracing.md).

Sources: https://opentelemetry.io/docs/specs/otlp/#otlphttp, https://opentelemetry.io/docs/specs/semconv/gen-ai/,
https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
"""

import asyncio
import contextlib
import random
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from polyforge.egress.http import Answer, HttpClient
from polyforge.kernel.clock import Clock, SystemClock
from polyforge.kernel.errors import PolyforgeError, SettingsError
from polyforge.kernel.retry_after import read_retry_after
from polyforge.ports.tracing import Trace, TracedAttempt, TracedRequest, new_span_id
from polyforge.secrets.references import SecretRef
from polyforge.telemetry.gen_ai import operation_of
from polyforge.telemetry.hops import HOPS
from polyforge.telemetry.logs import get_logger
from polyforge.telemetry.protobuf import LONGEST_TEXT, Attribute, attribute, nested, number, varint
from polyforge.telemetry.tracing import Sampler

log = get_logger(__name__)


class Settings(BaseModel):
    """A collector and how it is spoken to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str = Field(description="Base URL of the collector; `/v1/traces` is added to it.")
    headers: dict[str, SecretRef] = Field(default_factory=dict, description="Sent with every export.")
    sample: float = Field(default=0.01, ge=0, le=1, description="Share of requests that are traced.")
    timeout_seconds: float = Field(default=5.0, gt=0, description="For one export, and for the last one when closing.")
    interval_seconds: float = Field(default=2.0, ge=0, description="How long traces are gathered before they are sent.")
    retry_seconds: float = Field(default=1.0, ge=0, description="Wait before the first repetition; doubles with each.")
    tries: int = Field(default=4, ge=1, description="How often one batch is tried.")
    most_held: int = Field(default=2048, ge=1, description="Most traces waiting to be sent; more are dropped.")


Attributes = Iterable[tuple[str, Attribute | None]]

_BATCH = 256
_RETRYABLE = frozenset({429, 502, 503, 504})
_INTERNAL, _SERVER, _CLIENT = 1, 2, 3
_ERROR = 2
_LOCAL_PARENT = 0x101
_REMOTE_PARENT = 0x301
"""W3C flags with bit 8, "it is known whether the parent is remote", and bit 9, "it is"."""
_FAILED_STATUS = 500
_DISPATCH = HOPS.index("dispatch")


_TIMES = struct.Struct("<BQBQ")
_START_TAG, _END_TAG = 7 << 3 | 1, 8 << 3 | 1
_FLAGS_TAG = varint(16 << 3 | 5)
_SPAN_ATTRIBUTE = 9
_TRACE_ID = bytes((1 << 3 | 2, 16))
_SPAN_ID = bytes((2 << 3 | 2, 8))
_PARENT_ID = bytes((4 << 3 | 2, 8))


@lru_cache(maxsize=256)
def _name_and_kind(name: str, kind: int) -> bytes:
    return nested(5, name[:LONGEST_TEXT].encode("utf-8", "replace")) + number(6, kind)


def _span(
    trace: Trace,
    span_id: bytes,
    parent_id: bytes,
    name: str,
    kind: int,
    times: tuple[int, int],
    attributes: Attributes = (),
    *,
    events: bytes = b"",
    failed: bool = False,
    flags: int = _LOCAL_PARENT,
) -> bytes:
    parts = [
        _TRACE_ID,
        trace.trace_id,
        _SPAN_ID,
        span_id,
        _PARENT_ID + parent_id if parent_id else b"",
        _name_and_kind(name, kind),
        _TIMES.pack(_START_TAG, times[0], _END_TAG, times[1]),
    ]
    parts += [attribute(_SPAN_ATTRIBUTE, key, value) for key, value in attributes if value is not None]
    parts.append(events)
    if failed:
        parts.append(nested(15, number(3, _ERROR)))
    parts.append(_FLAGS_TAG + flags.to_bytes(4, "little"))
    return nested(2, b"".join(parts))


def _event(name: str, at: int) -> bytes:
    return nested(11, bytes((1 << 3 | 1,)) + at.to_bytes(8, "little") + nested(2, name.encode()))


# --- what a request looks like


def encode_request(request: TracedRequest, offset: int) -> bytes:
    """The spans of one request as `ScopeSpans.spans` fields; `offset` turns its times into nanoseconds of the epoch."""
    trace, marks = request.trace, request.marks
    hops = [(name, new_span_id(), start, end) for name, start, end in zip(HOPS, marks, marks[1:], strict=False)]
    spans = [_encode_root(request, offset)]
    spans += [
        _span(trace, span_id, trace.span_id, name, _INTERNAL, (start + offset, end + offset))
        for name, span_id, start, end in hops
    ]
    parent = hops[_DISPATCH][1] if len(hops) > _DISPATCH else trace.span_id
    spans += [_encode_attempt(request, attempt, parent, offset) for attempt in request.attempts]
    return b"".join(spans)


def _encode_root(request: TracedRequest, offset: int) -> bytes:
    usage = request.usage
    attributes: Attributes = (
        ("http.request.method", request.method),
        ("http.route", request.route),
        ("http.response.status_code", request.status),
        ("error.type", request.error),
        ("polyforge.request.id", request.request_id),
        ("polyforge.project.id", request.project_id),
        ("polyforge.key.id", request.key_id),
        ("polyforge.stream", request.stream),
        ("polyforge.price_micros", request.price),
        ("gen_ai.operation.name", operation_of(request.task)),
        ("gen_ai.request.model", request.model),
        ("gen_ai.usage.input_tokens", usage.input_total or None),
        ("gen_ai.usage.cache_read.input_tokens", usage.cache_read or None),
        ("gen_ai.usage.output_tokens", usage.output or None),
    )
    return _span(
        request.trace,
        request.trace.span_id,
        request.trace.parent_id,
        f"{request.method} {request.route}",
        _SERVER,
        (request.marks[0] + offset, request.marks[-1] + offset),
        attributes,
        failed=request.status >= _FAILED_STATUS,
        flags=_REMOTE_PARENT if request.trace.parent_id else _LOCAL_PARENT,
    )


def _encode_attempt(request: TracedRequest, attempt: TracedAttempt, parent: bytes, offset: int) -> bytes:
    failed = attempt.outcome != "ok"
    operation = operation_of(request.task)
    attributes: Attributes = (
        ("gen_ai.operation.name", operation),
        ("gen_ai.provider.name", attempt.provider),
        ("gen_ai.request.model", attempt.model),
        ("http.response.status_code", attempt.status),
        ("error.type", attempt.outcome if failed else None),
    )
    first = attempt.first_content
    return _span(
        request.trace,
        attempt.span_id or new_span_id(),
        parent,
        f"{operation or 'call'} {attempt.model}",
        _CLIENT,
        (attempt.started + offset, attempt.ended + offset),
        attributes,
        events=b"" if first is None else _event("first content", first + offset),
        failed=failed,
    )


def encode_batch(spans: Iterable[bytes], resource: Mapping[str, str]) -> bytes:
    """An ExportTraceServiceRequest with the spans of many requests."""
    described = b"".join(attribute(1, key, value) for key, value in resource.items())
    scope = nested(1, nested(1, b"polyforge"))
    return nested(1, nested(1, described) + nested(2, scope + b"".join(spans)))


# --- the tracer


def _ignore(count: int) -> None:
    del count


class OtlpTracer:
    """Samples requests and sends their spans in batches; a collector that is slow or down costs only traces.

    All methods belong to one event loop.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        process: str,
        version: str,
        clock: Clock | None = None,
        on_drop: Callable[[int], None] = _ignore,
    ) -> None:
        self._settings = settings
        self._base_url = _parse_endpoint(settings.endpoint)
        self._client: HttpClient | None = None
        self._resource = {"service.name": "polyforge", "service.version": version, "service.instance.id": process}
        self._on_drop = on_drop
        self._held: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing = False
        self.begin = Sampler(settings.sample, clock or SystemClock()).begin

    async def open(self) -> None:
        """Start sending. SettingsError when a header's secret is missing."""
        secrets = {name: value.reveal() for name, value in self._settings.headers.items()}
        headers = {"content-type": "application/x-protobuf", "user-agent": "polyforge", **secrets}
        self._client = HttpClient(self._base_url, headers, self._settings.timeout_seconds, max_connections=1)
        self._task = asyncio.create_task(self._run(self._client), name="otlp-traces")
        self._task.add_done_callback(_tell_end)

    async def close(self) -> None:
        """Send what is held, for at most the time that one export may take."""
        self._closing.set()
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=self._settings.timeout_seconds)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
            self._client = None

    def record(self, request: TracedRequest) -> None:
        """Keep the spans of a sampled request that is over."""
        if len(self._held) >= self._settings.most_held:
            self._on_drop(1)
            return
        self._held.append(encode_request(request, time.time_ns() - time.perf_counter_ns()))
        self._wake.set()

    async def _run(self, client: HttpClient) -> None:
        last = False
        while not last:
            await self._wake.wait()
            await self._pause(self._settings.interval_seconds)
            last = self._closing.is_set()
            self._wake.clear()
            await self._send_held(client)

    async def _send_held(self, client: HttpClient) -> None:
        while held := self._held:
            batch = [held.popleft() for _ in range(min(len(held), _BATCH))]
            problem = await self._send(client, encode_batch(batch, self._resource))
            if problem is not None:
                self._on_drop(len(batch))
            self._tell(problem)

    async def _send(self, client: HttpClient, body: bytes) -> str | None:
        """Send one batch, again after failures that may pass; None, or what the last failure was."""
        wait = self._settings.retry_seconds
        for tries_left in range(self._settings.tries - 1, -1, -1):
            result = await self._post(client, body)
            if result.problem is None or not result.may_pass or not tries_left:
                return result.problem
            await self._pause(min(result.retry_after or wait * random.uniform(0.5, 1.5), _LONGEST_WAIT))
            wait *= 2
            if self._closing.is_set():
                return result.problem
        return None

    async def _post(self, client: HttpClient, body: bytes) -> "_Result":
        answer = client.post(_PATH, body, {})
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                try:
                    await answer.open()
                    await answer.error_body()
                    return _judge(answer)
                finally:
                    await answer.close()
        except TimeoutError:
            return _Result("it took too long", may_pass=True)
        except PolyforgeError as error:
            return _Result(error.message, may_pass=True)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not into the closing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    def _tell(self, problem: str | None) -> None:
        if problem is not None and not self._failing:
            log.warning("traces cannot be exported", endpoint=self._base_url, problem=problem)
        elif problem is None and self._failing:
            log.info("traces are exported again", endpoint=self._base_url)
        self._failing = problem is not None


class _Result(NamedTuple):
    """How one export went."""

    problem: str | None = None
    may_pass: bool = False
    retry_after: float | None = None


def _judge(answer: Answer) -> _Result:
    if answer.status in _OK:
        return _Result()
    retry_after = read_retry_after(answer.header)
    return _Result(f"it answered {answer.status}", answer.status in _RETRYABLE, retry_after)


def _tell_end(task: asyncio.Task[None]) -> None:
    """Nobody waits for the task while requests are served, so its failure would go unheard."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("traces are no longer exported", problem=repr(error))


_PATH = "/v1/traces"
_LONGEST_WAIT = 30.0
_OK = range(200, 300)


def _parse_endpoint(endpoint: str) -> str:
    try:
        url = urlsplit(endpoint)
        usable = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("telemetry.otlp_endpoint: must be the http or https URL of a collector")
    return endpoint.rstrip("/").removesuffix(_PATH)


ADAPTER = OtlpTracer
