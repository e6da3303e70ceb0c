"""What every sink of audit events must do: one suite, run against each adapter and a real receiver."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Protocol

import pytest

from polyforge.kernel.errors import Unavailable
from polyforge.kernel.hidden import Hidden
from polyforge.ports.audit_sink import AuditSink
from polyforge.ports.secret_source import Stop
from tests.support.waiting import eventually_async

TIME = "2026-01-31T12:00:00.000000+00:00"
LINES = [
    json.dumps({"sequence": number, "time": TIME, "action": "key.created", "naïve": "é\n"}).encode()
    for number in range(1, 1_001)
]


class Receiver(Protocol):
    """Where a sink sends to. It can be down, and is found at the same place again when it is up."""

    @property
    def lines(self) -> Sequence[bytes]:
        """What has arrived, without line breaks."""
        ...

    async def up(self) -> None: ...

    async def down(self) -> None: ...


class NoSecrets:
    """For sinks whose settings name none."""

    def value(self, name: str) -> Hidden:
        raise AssertionError(f"nobody should ask for {name}")

    def watch(self, name: str, changed: Callable[[], None]) -> Stop:
        raise AssertionError(f"nobody should watch {name}")


async def arrived(receiver: Receiver, lines: Sequence[bytes]) -> None:
    """Wait for exactly these lines, in this order."""
    await eventually_async(lambda: len(receiver.lines) >= len(lines), "all lines")
    assert list(receiver.lines) == list(lines)


async def several_times(sink: AuditSink, lines: Sequence[bytes]) -> None:
    """A receiver that is gone need not be noticed at once."""
    for _ in range(3):
        await sink.send(lines)


class AuditSinkSuite:
    """Subclass it with the fixtures `receiver` (not up yet) and `make` (gives a sink that sends to it)."""

    @pytest.fixture
    async def sink(self, make: Callable[[], AuditSink]) -> AuditSink:
        sink = make()
        await sink.open(NoSecrets())
        return sink

    async def test_lines_arrive_whole_in_order_and_before_send_returns_or_soon(
        self, receiver: Receiver, sink: AuditSink
    ) -> None:
        await receiver.up()
        for start in range(0, 900, 300):
            await sink.send(LINES[start : start + 300])
        await arrived(receiver, LINES[:900])
        await sink.close()
        await receiver.down()

    async def test_a_sink_opens_while_its_receiver_is_down_and_sends_once_it_is_up(
        self, receiver: Receiver, sink: AuditSink
    ) -> None:
        for _ in range(3):
            with pytest.raises(Unavailable):
                await sink.send(LINES[:10])
        await receiver.up()
        await sink.send(LINES[:10])
        await arrived(receiver, LINES[:10])
        await sink.close()
        await receiver.down()

    async def test_a_receiver_that_goes_away_and_comes_back_misses_nothing_that_is_sent_again(
        self, receiver: Receiver, sink: AuditSink
    ) -> None:
        await receiver.up()
        await sink.send(LINES[:2])
        await arrived(receiver, LINES[:2])
        await receiver.down()
        with pytest.raises(Unavailable):
            await several_times(sink, LINES[2:4])
        await receiver.up()
        await sink.send(LINES[2:4])
        await eventually_async(lambda: LINES[3] in receiver.lines)
        assert list(receiver.lines)[-2:] == LINES[2:4]
        await sink.close()
        await receiver.down()

    async def test_a_sink_that_was_given_up_in_the_middle_sends_the_next_batch(
        self, receiver: Receiver, sink: AuditSink
    ) -> None:
        await receiver.up()
        for moments in range(4):
            sending = asyncio.create_task(sink.send(LINES))
            for _ in range(moments):
                await asyncio.sleep(0)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        last = [LINES[0] + b" " * 10]
        await sink.send(last)
        await eventually_async(lambda: last[0] in receiver.lines)
        assert all(line in LINES or line == last[0] for line in receiver.lines)
        await sink.close()
        await receiver.down()

    async def test_a_sink_that_was_closed_can_be_opened_again(self, receiver: Receiver, sink: AuditSink) -> None:
        await receiver.up()
        await sink.send(LINES[:1])
        await sink.close()
        await sink.close()
        await sink.open(NoSecrets())
        await sink.send(LINES[1:2])
        await arrived(receiver, LINES[:2])
        await sink.close()
        await receiver.down()
