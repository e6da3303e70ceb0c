"""Traces on their way to a collector that speaks OTLP over HTTP, and to collectors that do not."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from polyforge.adapters.tracing.otlp import ADAPTER, OtlpTracer, Settings
from polyforge.kernel.errors import SettingsError
from polyforge.kernel.usage import Usage
from polyforge.ports.tracing import Trace, TracedAttempt, TracedRequest, Tracer, new_span_id
from polyforge.telemetry.hops import HOPS
from tests.support.ports import refusing_port, silent_port
from tests.support.waiting import DEADLINE, eventually_async

CALLER = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Value = str | int | bool
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Collector:
    """An OTLP/HTTP server that answers as it is told and keeps what it gets."""

    def __init__(self, answers: Sequence[bytes] = ()) -> None:
        self.url = ""
        self.heads: list[bytes] = []
        self.exports: list[ExportTraceServiceRequest] = []
        self._answers = list(answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await reader.readexactly(length)
            self.heads.append(head)
            answer = self._answers.pop(0) if self._answers else b"200 OK\r\ncontent-length: 0"
            if answer == b"hang up":
                break
            if answer.startswith(b"200"):
                self.exports.append(ExportTraceServiceRequest.FromString(body))
            writer.write(b"HTTP/1.1 " + answer + b"\r\n\r\n")
            await writer.drain()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for export in self.exports
            for resource in export.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@asynccontextmanager
async def serving(handle: Handler) -> AsyncGenerator[str]:
    """The URL of a server that ends together with its connections."""
    connections: set[asyncio.Task[None]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with contextlib.suppress(OSError):
            await handle(reader, writer)
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(tracked, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for _ in range(5):
        await asyncio.sleep(0)  # a connection that was accepted last gets its task
    if connections:
        await asyncio.wait(connections, timeout=DEADLINE)


@asynccontextmanager
async def collector(*answers: bytes) -> AsyncGenerator[Collector]:
    one = Collector(answers)
    async with serving(one.serve) as one.url:
        yield one


@asynccontextmanager
async def tracing(
    endpoint: str, dropped: Callable[[int], None] = lambda _: None, **options: object
) -> AsyncGenerator[OtlpTracer]:
    settings = Settings.model_validate(
        {"endpoint": endpoint, "sample": 1, "interval_seconds": 0, "retry_seconds": 0, "timeout_seconds": 5} | options
    )
    tracer = ADAPTER(settings, process="gateway-0", version="1.2.3", on_drop=dropped)
    await tracer.open()
    try:
        yield tracer
    finally:
        await tracer.close()


def request(trace: Trace, **fields: object) -> TracedRequest:
    """A request that took 8 us, a hop each, with one attempt that failed and one that did not."""
    start = time.perf_counter_ns()
    marks = [start + 1000 * hop for hop in range(len(HOPS) + 1)]
    attempts = [
        TracedAttempt("openai", "gpt-4o", marks[6], marks[6] + 300, "timeout", span_id=new_span_id()),
        TracedAttempt("lab", "llama", marks[6] + 300, marks[7], status=200, first_content=marks[6] + 500),
    ]
    known: dict[str, object] = {
        "request_id": "01J",
        "method": "POST",
        "route": "/v1/chat/completions",
        "status": 200,
        "marks": marks,
        "attempts": attempts,
        "task": "chat",
        "model": "assistant",
        "usage": Usage(input=80, cache_read=20, output=300),
        "price": 17,
    }
    return TracedRequest(trace, **(known | fields))  # pyright: ignore[reportArgumentType] - fields are by name


def attributes(pairs: Sequence[KeyValue]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        assert kind is not None
        found[pair.key] = getattr(pair.value, kind)
    return found


def traced(tracer: OtlpTracer, traceparent: bytes | None = None, **fields: object) -> TracedRequest:
    trace = tracer.begin(traceparent)
    assert trace is not None
    record = request(trace, **fields)
    tracer.record(record)
    return record


async def test_a_request_arrives_as_the_tree_of_its_hops_and_attempts() -> None:
    async with collector() as one, tracing(one.url) as tracer:
        before = time.time_ns()
        record = traced(tracer, CALLER)
        await eventually_async(lambda: one.spans, "the spans")
    spans = {span.name: span for span in one.spans}
    root, dispatch = spans["POST /v1/chat/completions"], spans["dispatch"]
    assert len(one.spans) == 1 + len(HOPS) + 2
    assert {span.trace_id.hex() for span in one.spans} == {"0af7651916cd43dd8448eb211c80319c"}
    assert len({span.span_id for span in one.spans}) == len(one.spans)
    assert root.parent_span_id.hex() == "b7ad6b7169203331"
    assert root.span_id == record.trace.span_id
    assert {spans[hop].parent_span_id for hop in HOPS} == {root.span_id}
    assert {spans[name].parent_span_id for name in ("chat gpt-4o", "chat llama")} == {dispatch.span_id}
    assert spans["chat gpt-4o"].span_id == record.attempts[0].span_id

    assert abs(root.start_time_unix_nano - before) < 60 * 10**9
    assert root.end_time_unix_nano - root.start_time_unix_nano == 8000
    assert [(spans[hop].start_time_unix_nano - root.start_time_unix_nano) // 1000 for hop in HOPS] == list(range(8))
    assert spans["chat llama"].events[0].name == "first content"
    assert spans["chat llama"].events[0].time_unix_nano - dispatch.start_time_unix_nano == 500
    assert (root.kind, dispatch.kind, spans["chat llama"].kind) == (
        Span.SPAN_KIND_SERVER,
        Span.SPAN_KIND_INTERNAL,
        Span.SPAN_KIND_CLIENT,
    )


async def test_names_follow_the_conventions_and_nothing_that_was_said_is_sent() -> None:
    async with collector() as one, tracing(one.url, headers={"x-team": "blue"}) as tracer:
        traced(tracer, stream=True, project_id="P", key_id="K")
        await eventually_async(lambda: one.spans, "the spans")
    spans = {span.name: span for span in one.spans}
    assert attributes(spans["POST /v1/chat/completions"].attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "polyforge.request.id": "01J",
        "polyforge.project.id": "P",
        "polyforge.key.id": "K",
        "polyforge.stream": True,
        "polyforge.price_micros": 17,
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "assistant",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 20,
        "gen_ai.usage.output_tokens": 300,
    }
    assert attributes(spans["chat gpt-4o"].attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "error.type": "timeout",
    }
    assert spans["chat gpt-4o"].status.code == Status.STATUS_CODE_ERROR
    assert spans["chat llama"].status.code == Status.STATUS_CODE_UNSET
    assert attributes(one.exports[0].resource_spans[0].resource.attributes) == {
        "service.name": "polyforge",
        "service.version": "1.2.3",
        "service.instance.id": "gateway-0",
    }
    head = one.heads[0].lower()
    assert head.startswith(b"post /v1/traces http/1.1\r\n")
    assert b"content-type: application/x-protobuf\r\n" in head
    assert b"x-team: blue\r\n" in head


async def test_a_request_that_ended_early_has_the_hops_it_reached() -> None:
    async with collector() as one, tracing(f"{one.url}/v1/traces/") as tracer:
        traced(tracer, marks=[10, 20, 30], attempts=[], status=503, error="unavailable", task=None, model=None)
        await eventually_async(lambda: one.spans, "the spans")
    assert [span.name for span in one.spans] == ["POST /v1/chat/completions", "server", "auth"]
    assert one.spans[0].status.code == Status.STATUS_CODE_ERROR
    assert attributes(one.spans[0].attributes)["error.type"] == "unavailable"


async def test_odd_text_and_large_numbers_survive_the_encoding() -> None:
    names = {"model": "\ud800mod\u00e9le" + "x" * 1000, "price": -1, "usage": Usage(input=2**40)}
    async with collector() as one, tracing(one.url) as tracer:
        traced(tracer, None, **names)
        await eventually_async(lambda: one.spans, "the spans")
    found = attributes(one.spans[0].attributes)
    assert str(found["gen_ai.request.model"]).startswith("?mod\u00e9lexxx")
    assert found["polyforge.price_micros"] == -1
    assert found["gen_ai.usage.input_tokens"] == 2**40


async def test_many_traces_travel_together_and_all_arrive_before_the_end() -> None:
    async with collector() as one:
        async with tracing(one.url, interval_seconds=60) as tracer:
            for _ in range(600):
                traced(tracer)
            assert not one.exports
        assert len(one.spans) == 600 * 11
        assert len(one.exports) == 3


@pytest.mark.parametrize(
    "answer",
    [b"503 Down\r\ncontent-length: 0", b"429 Slow\r\nretry-after: 0\r\ncontent-length: 0", b"hang up"],
)
async def test_a_failure_that_passes_costs_nothing(answer: bytes) -> None:
    dropped: list[int] = []
    async with collector(answer, answer) as one, tracing(one.url, dropped.append) as tracer:
        traced(tracer)
        await eventually_async(lambda: one.spans, "the spans")
    assert len(one.exports) == 1
    assert not dropped


async def test_a_refusal_is_not_repeated() -> None:
    dropped: list[int] = []
    async with collector(b"400 Bad\r\ncontent-length: 3\r\n\r\nbad") as one, tracing(one.url, dropped.append) as tracer:
        traced(tracer)
        await eventually_async(lambda: dropped, "the drop")
        traced(tracer)
        await eventually_async(lambda: one.exports, "the next export")
    assert dropped == [1]
    assert len(one.heads) == 2


async def harmless(endpoint: str) -> None:
    """Whatever is at `endpoint`: requests go on, memory is bounded, the loss is counted, closing ends."""
    dropped: list[int] = []
    options = {"most_held": 50, "timeout_seconds": 0.3, "tries": 2}
    async with tracing(endpoint, dropped.append, **options) as tracer:
        for _ in range(200):
            traced(tracer)
            await asyncio.sleep(0)
        await eventually_async(lambda: sum(dropped) >= 150, "the drops")
    assert sum(dropped) <= 200


async def test_a_collector_that_refuses_connections_is_harmless() -> None:
    with refusing_port() as port:
        await harmless(f"http://127.0.0.1:{port}")


async def test_a_collector_that_never_answers_is_harmless() -> None:
    with silent_port() as port:
        await harmless(f"http://127.0.0.1:{port}")


async def test_a_collector_that_speaks_another_language_is_harmless() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"220 smtp ready\r\n")

    async with serving(babble) as url:
        await harmless(url)


@pytest.mark.parametrize("endpoint", ["", "collector:4318", "ftp://x", "http://", "http://x:99999", "http://[x"])
def test_an_endpoint_that_is_no_url_is_refused_at_the_start(endpoint: str) -> None:
    with pytest.raises(SettingsError, match=r"^telemetry\.otlp_endpoint: "):
        OtlpTracer(Settings(endpoint=endpoint), process="gateway-0", version="0")


def test_the_adapter_is_a_tracer() -> None:
    tracer: Tracer = ADAPTER(Settings(endpoint="http://127.0.0.1:4318", sample=0), process="gateway-0", version="0")
    assert tracer.begin(None) is None
