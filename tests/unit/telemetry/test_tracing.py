"""Which requests are traced."""

import pytest

from polyforge.kernel.clock import FakeClock
from polyforge.ports.tracing import Trace, Tracer, new_span_id
from polyforge.telemetry.tracing import NullTracer, Sampler, parse_traceparent

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01".encode()
UNSAMPLED = f"00-{TRACE}-{SPAN}-00".encode()


def test_a_callers_trace_is_followed() -> None:
    trace = Sampler(0, FakeClock()).begin(SAMPLED)
    assert trace is not None
    assert trace.id == TRACE
    assert trace.parent_id.hex() == SPAN
    assert trace.span_id.hex() != SPAN


def test_a_caller_that_says_no_is_not_traced() -> None:
    assert Sampler(1, FakeClock()).begin(UNSAMPLED) is None


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (1.0, 1000, 1000), (0.5, 300, 700)])
def test_a_share_of_the_others_is(share: float, least: int, most: int) -> None:
    sampler = Sampler(share, FakeClock())
    assert least <= sum(sampler.begin(None) is not None for _ in range(1000)) <= most


def test_callers_may_not_ask_for_more_than_their_share() -> None:
    clock = FakeClock()
    sampler = Sampler(0, clock, asked_per_second=5)
    assert sum(sampler.begin(SAMPLED) is not None for _ in range(100)) == 5
    clock.advance(0.4)
    assert sum(sampler.begin(SAMPLED) is not None for _ in range(100)) == 2
    clock.advance(3600)
    assert sum(sampler.begin(SAMPLED) is not None for _ in range(100)) == 5


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"x",
        f"00-{TRACE}-{SPAN}".encode(),
        f"00-{TRACE.upper()}-{SPAN}-01".encode(),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-01-more".encode(),
        f"00-{TRACE}-{SPAN}-01\r\nx: y".encode(),
        "00-é".encode("latin-1") * 1000,
    ],
)
def test_what_is_no_traceparent_counts_as_none(header: bytes) -> None:
    assert parse_traceparent(header) is None
    trace = Sampler(1, FakeClock()).begin(header)
    assert trace is not None
    assert trace.parent_id == b""


def test_later_versions_of_the_header_are_read_as_far_as_they_are_known() -> None:
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-03-more".encode()) is not None


def test_what_is_sent_on_is_a_traceparent_again() -> None:
    trace = Trace(bytes.fromhex(TRACE), bytes.fromhex(SPAN))
    assert trace.traceparent().encode() == SAMPLED
    attempt = new_span_id()
    assert parse_traceparent(trace.traceparent(attempt).encode()) == (trace.trace_id, attempt, True)


async def test_the_null_tracer_traces_nothing() -> None:
    tracer: Tracer = NullTracer()
    await tracer.open()
    assert tracer.begin(SAMPLED) is None
    await tracer.close()
