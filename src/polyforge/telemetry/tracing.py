"""Which requests are traced, and the tracer that traces none."""

import random
import re

from polyforge.kernel.clock import Clock
from polyforge.ports.tracing import Trace, TracedRequest, new_span_id

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_NO_TRACE = bytes(16)
_NO_SPAN = bytes(8)


def parse_traceparent(header: bytes) -> tuple[bytes, bytes, bool] | None:
    """Trace id, parent span id and the sampled flag of a `traceparent` header; None when it is none.

    Source: https://www.w3.org/TR/trace-context/#traceparent-header
    """
    found = _TRACEPARENT.fullmatch(header)
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    trace, parent = bytes.fromhex(trace_id.decode()), bytes.fromhex(parent_id.decode())
    if trace == _NO_TRACE or parent == _NO_SPAN:
        return None
    return trace, parent, bool(int(flags, 16) & _SAMPLED)


class Sampler:
    """Samples a `share` of the requests whose callers do not say, and follows the callers that do.

    A caller that asks for its request to be traced gets that at most `asked_per_second` times a second, since anybody
    can ask.
    """

    def __init__(self, share: float, clock: Clock, *, asked_per_second: float = 10.0) -> None:
        self._share = share
        self._clock = clock
        self._rate = asked_per_second
        self._room = asked_per_second
        self._filled_at = clock.monotonic()

    def begin(self, traceparent: bytes | None) -> Trace | None:
        """The trace of a new request, or None when it is not sampled."""
        if traceparent is not None:
            return self._follow(traceparent)
        if random.random() < self._share:
            return Trace(new_span_id() + new_span_id(), new_span_id())
        return None

    def _follow(self, traceparent: bytes) -> Trace | None:
        if traceparent.endswith(b"-00") or not self._has_room():
            return None
        asked = parse_traceparent(traceparent)
        if asked is None:
            return self.begin(None)
        trace_id, parent_id, sampled = asked
        if not sampled:
            return None
        self._room -= 1
        return Trace(trace_id, new_span_id(), parent_id)

    def _has_room(self) -> bool:
        now = self._clock.monotonic()
        self._room = min(self._rate, self._room + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return self._room >= 1


class NullTracer:
    """Traces nothing."""

    async def open(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to hand over."""

    def begin(self, traceparent: bytes | None) -> Trace | None:
        """Never sampled."""
        del traceparent
        return None

    def record(self, request: TracedRequest) -> None:
        """Nothing is kept."""
        del request
