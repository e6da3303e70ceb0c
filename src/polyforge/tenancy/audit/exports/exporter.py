"""Sends the audit log to one sink: in order, at least once, for as long as it takes.

Every process has an exporter per sink, on every machine. Whoever holds the export's row sends one batch; when a process
dies in the middle of one, the row is free once its time is up. How far the sink is moves only after the sink accepted,
and only from where it was read, so whatever goes wrong an event is sent again, never left out.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy.exc import DBAPIError

from polyforge.database.database import Database
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Invalid
from polyforge.kernel.ids import new_ulid
from polyforge.ports.audit_sink import SEND_SECONDS, AuditSink
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.audit.exports.store import (
    DeadLetter,
    ExportState,
    SystemExportEditor,
    SystemExportStore,
)
from polyforge.tenancy.audit.lines import line_of
from polyforge.tenancy.audit.store import SystemAuditStore
from polyforge.tenancy.exporting import IDLE_SECONDS, LOOK_SECONDS, AllExporting, Exporting, pause_after
from polyforge.tenancy.sink_failed import REASON_LENGTH, SinkFailed

MOST_EVENTS: Final = 500
MOST_BYTES: Final = 1_000_000
"""Bounds on one batch; an event that is larger goes alone."""
_EVENT_BYTES: Final = 1_000
"""What an event has about, beside its texts of any length."""
_HELD_SECONDS: Final = SEND_SECONDS + 10.0
_UNREADABLE: Final = "the event cannot be read; `polyforge audit verify` tells more"

_log = get_logger(__name__)


class Exporter(Exporting[AuditSink]):
    """One sink's share of a process. `holder` is unique to the process."""

    def __init__(self, name: str, sink: AuditSink, database: Database, clock: Clock, holder: str) -> None:
        super().__init__(name, "audit events", sink)
        self._database = database
        self._clock = clock
        self._holder = holder
        self._most = MOST_EVENTS
        self.lag = 0
        """Events that the sink does not have yet, as far as this process knows."""

    async def step(self) -> float:
        """Send what is next, if anything; how many seconds there is nothing to do then."""
        now = self._clock.now()
        async with self._database.read() as session:
            state = await SystemExportStore(session).state(self.name)
            newest = (await SystemAuditStore(session).head()).sequence
            waiting = await SystemExportStore(session).wanted(self.name, 1)
        self.lag = newest - (state.sequence if state else 0)
        if state is not None and state.held_by_another(self._holder, now):
            return LOOK_SECONDS
        if self.lag <= 0 and not waiting:
            return IDLE_SECONDS
        if state is not None and state.retry_at > now:
            return min(state.retry_at - now, LOOK_SECONDS)
        async with self._database.write() as session:
            state = await SystemExportEditor(session).claim(self.name, self._holder, now, now + _HELD_SECONDS)
        if state is None:
            return LOOK_SECONDS
        return await (self._repeat(state, waiting[0]) if waiting else self._continue(state))

    async def _continue(self, state: ExportState) -> float:
        """Send the next batch. Of one with refused events in it, ever smaller parts, down to each of them."""
        sequences = await self._next(state.sequence)
        if not sequences:
            return IDLE_SECONDS
        through = sequences[-1]
        try:
            await self._send(state.sequence, through)
        except Invalid as refusal:
            if len(sequences) > 1:
                self._most = len(sequences) // 2
                return 0
            await self._move(state, through, refusal.message)
            return 0
        except SinkFailed as failure:
            return await self._fail(state, failure)
        self._most = min(2 * self._most, MOST_EVENTS)
        await self._move(state, through)
        return 0

    async def _repeat(self, state: ExportState, letter: DeadLetter) -> float:
        """Send a dead letter again."""
        refusal: str | None = None
        try:
            await self._send(letter.sequence - 1, letter.sequence)
        except Invalid as error:
            refusal = error.message[:REASON_LENGTH]
        except SinkFailed as failure:
            return await self._fail(state, failure)
        async with self._database.write() as session:
            editor = SystemExportEditor(session)
            if refusal is None:
                await editor.remove(letter.id)
            else:
                await editor.refuse_again(letter.id, refusal, self._clock.now())
            await editor.change(self.name, self._holder, state.sequence, self._settled())
        self._tell(None)
        return 0

    async def _next(self, after: int) -> list[int]:
        """The sequence numbers of the next batch."""
        async with self._database.read() as session:
            sizes = await SystemAuditStore(session).sizes_after(after, self._most)
        batch: list[int] = []
        total = 0
        for sequence, size in sizes:
            total += size + _EVENT_BYTES
            if batch and total > MOST_BYTES:
                break
            batch.append(sequence)
        return batch

    async def _send(self, after: int, through: int) -> None:
        lines = await self._lines(after, through)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._sink.send(lines)
        except Invalid:
            raise
        except Exception as error:
            # Whatever a sink raises, its events are kept for it.
            raise SinkFailed(error) from error

    async def _lines(self, after: int, through: int) -> Sequence[bytes]:
        """Invalid when somebody changed a row into what no event can be."""
        try:
            async with self._database.read() as session:
                entries = await SystemAuditStore(session).entries(after, through)
            lines = await asyncio.to_thread(lambda: [line_of(entry) for entry in entries])
        except (DBAPIError, ValueError, OverflowError, OSError) as error:
            raise Invalid(_UNREADABLE) from error
        if not lines:
            raise Invalid(_UNREADABLE)
        return lines

    async def _move(self, state: ExportState, through: int, refusal: str | None = None) -> None:
        """The sink has everything up to `through`, but for that one if it refused it."""
        now = self._clock.now()
        async with self._database.write() as session:
            editor = SystemExportEditor(session)
            values = {**self._settled(), "sequence": through}
            moved = await editor.change(self.name, self._holder, state.sequence, values)
            if moved and refusal is not None:
                await editor.bury(DeadLetter(new_ulid(), self.name, through, refusal[:REASON_LENGTH], now))
        self._tell(None)
        if moved:
            self.lag = max(0, self.lag - (through - state.sequence))
        if refusal is not None:
            _log.warning("a sink refused an audit event", export=self.name, sequence=through, reason=refusal)

    def _settled(self) -> dict[str, Any]:
        """What is so after a batch; the row is free again."""
        return {"failures": 0, "retry_at": 0.0, "error": None, "changed_at": self._clock.now(), "held_until": 0.0}

    async def _fail(self, state: ExportState, failure: SinkFailed) -> float:
        """Leave the sink alone for a while, longer each time."""
        wait = pause_after(failure, state.failures)
        now = self._clock.now()
        failed = {"failures": state.failures + 1, "retry_at": now + wait, "error": failure.reason}
        values = {**self._settled(), **failed}
        async with self._database.write() as session:
            await SystemExportEditor(session).change(self.name, self._holder, state.sequence, values)
        self._tell(failure.reason)
        return min(wait, LOOK_SECONDS)


class Exporters(AllExporting[Exporter]):
    """All exporters of a process."""

    def __init__(self, exporters: Sequence[Exporter], database: Database, holder: str) -> None:
        super().__init__("audit events", exporters, database, holder)

    async def _release(self, session: WriteSession) -> None:
        await SystemExportEditor(session).release(self._holder)

    def lags(self) -> dict[str, int]:
        """Events that each sink does not have yet."""
        return {exporter.name: exporter.lag for exporter in self._exporters}
