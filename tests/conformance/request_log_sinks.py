"""What every sink of the log of requests must do: one suite, run against each adapter and a scripted receiver."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import pytest

from polyforge.kernel.errors import Unavailable
from polyforge.kernel.request_log import LoggedAttempt, LoggedHop, LoggedRequest, RequestBatch
from polyforge.kernel.usage import Usage
from polyforge.ports.request_log_sink import RequestLogSink
from tests.conformance.audit_sinks import NoSecrets

BEGUN = 1_769_860_800.25
"""2026-01-31T12:00:00.250Z."""


def logged(number: int, **changes: Any) -> LoggedRequest:
    """A call that went well."""
    values: dict[str, Any] = {
        "id": f"{number:026d}",
        "key_id": "0000000000000000000000000K",
        "organization_id": "0000000000000000000000000A",
        "project_id": "0000000000000000000000000P",
        "task": "chat",
        "model": "assistant-é",
        "provider": "openai",
        "deployment": "gpt-4o-mini",
        "status": "ok",
        "http_status": 200,
        "started_at": BEGUN + number,
        "duration_ms": 1_500,
        "stream": True,
        "usage": Usage(input=100, cache_read=20, cache_write=3, output=40, reasoning=30),
        "cost": 1_250,
        "price": 2_000,
        "tags": ("app=chat", "team=red"),
        "first_token_ms": 250.0,
        "hops": (LoggedHop("server", 12), LoggedHop("auth", 7)),
        "attempts": (
            LoggedAttempt("lab", "llama", 0.5, 100.0, "upstream_timeout"),
            LoggedAttempt("openai", "gpt-4o-mini", 101.0, None, "ok"),
        ),
        "trace_id": "ab" * 16,
    }
    return LoggedRequest(**{**values, **changes})


REQUESTS = [logged(number) for number in range(1, 1_201)]


class Receiver(Protocol):
    """Where a sink sends to. It can be down, and is found at the same place again when it is up."""

    @property
    def ids(self) -> Sequence[str]:
        """The requests that it has taken, each as often as it took it."""
        ...

    async def up(self) -> None: ...

    async def down(self) -> None: ...


class RequestLogSinkSuite:
    """Subclass it with the fixtures `receiver` (not up yet) and `make` (gives a sink that sends to it)."""

    @pytest.fixture
    async def sink(self, make: Callable[[], RequestLogSink]) -> RequestLogSink:
        sink = make()
        await sink.open(NoSecrets())
        return sink

    async def test_all_that_is_sent_is_there_when_send_returns(self, receiver: Receiver, sink: RequestLogSink) -> None:
        await receiver.up()
        await sink.send(RequestBatch(1, REQUESTS[:2]))
        await sink.send(RequestBatch(2, REQUESTS[2:]))
        assert sorted(receiver.ids) == [request.id for request in REQUESTS]
        await sink.close()
        await receiver.down()

    async def test_a_sink_opens_while_its_receiver_is_down_and_sends_once_it_is_up(
        self, receiver: Receiver, sink: RequestLogSink
    ) -> None:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await sink.send(RequestBatch(1, REQUESTS[:3]))
        await receiver.up()
        await sink.send(RequestBatch(1, REQUESTS[:3]))
        assert list(receiver.ids) == [request.id for request in REQUESTS[:3]]
        await receiver.down()
        with pytest.raises(Unavailable):
            await sink.send(RequestBatch(2, REQUESTS[3:4]))
        await receiver.up()
        await sink.send(RequestBatch(2, REQUESTS[3:4]))
        assert list(receiver.ids) == [request.id for request in REQUESTS[:4]]
        await sink.close()
        await receiver.down()

    async def test_a_sink_that_was_closed_can_be_opened_again(self, receiver: Receiver, sink: RequestLogSink) -> None:
        await receiver.up()
        await sink.close()
        with pytest.raises(Unavailable, match="not open"):
            await sink.send(RequestBatch(1, REQUESTS[:1]))
        await sink.open(NoSecrets())
        await sink.send(RequestBatch(1, REQUESTS[:1]))
        assert list(receiver.ids) == [REQUESTS[0].id]
        await sink.close()
        await receiver.down()
