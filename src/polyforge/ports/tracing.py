"""The port to whatever keeps traces. Nothing is made during a request: its spans are written at its end."""

import random
from typing import Protocol

import msgspec

from polyforge.kernel.tasks import Task
from polyforge.kernel.usage import NO_USAGE, Usage


class Trace(msgspec.Struct, frozen=True, gc=False):
    """The identity of one sampled request (https://www.w3.org/TR/trace-context/)."""

    trace_id: bytes
    """16 bytes."""
    span_id: bytes
    """8 bytes: the span of the request."""
    parent_id: bytes = b""
    """8 bytes: the caller's span; empty when the trace begins here."""

    @property
    def id(self) -> str:
        """The trace id as it is written in logs and shown by tools."""
        return self.trace_id.hex()

    def traceparent(self, span_id: bytes = b"") -> str:
        """The header that tells an upstream which span is calling it: an attempt's, or else the request's own."""
        return f"00-{self.trace_id.hex()}-{(span_id or self.span_id).hex()}-01"


def new_span_id() -> bytes:
    """Eight random bytes that are not all zero."""
    return (random.getrandbits(64) or 1).to_bytes(8)


class TracedAttempt(msgspec.Struct, gc=False):
    """One attempt at a deployment; times are of `time.perf_counter_ns`."""

    provider: str
    model: str
    """The provider's own name of the model."""
    started: int
    ended: int
    outcome: str = "ok"
    """`ok`, or the code of the error."""
    status: int | None = None
    """What the upstream answered, where it did."""
    first_content: int | None = None
    span_id: bytes = b""
    """What was told to the upstream as its parent; empty when it was told nothing."""


class TracedRequest(msgspec.Struct):
    """What is known about a request at its end; never what was said in it."""

    trace: Trace
    request_id: str
    method: str
    route: str
    """The path as it is declared, without anything that callers make up."""
    status: int
    marks: list[int]
    """The start and the end of each hop, of `time.perf_counter_ns`."""
    attempts: list[TracedAttempt] = []
    task: Task | None = None
    model: str | None = None
    stream: bool = False
    error: str | None = None
    """Code of the error that the caller got."""
    project_id: str | None = None
    key_id: str | None = None
    usage: Usage = NO_USAGE
    price: int = 0
    """In micro-USD."""


class Tracer(Protocol):
    """Decides which requests are traced, and keeps their traces. Never waits, and fails no request."""

    async def open(self) -> None:
        """Get ready. Does not require anything else to be up."""
        ...

    async def close(self) -> None:
        """Hand over what is still held, for a bounded time."""
        ...

    def begin(self, traceparent: bytes | None) -> Trace | None:
        """The trace of a new request, given what its caller sent; None, at almost no cost, when it is not sampled."""
        ...

    def record(self, request: TracedRequest) -> None:
        """Keep the spans of a sampled request that is over."""
        ...
