"""Sends the log of requests to one sink: at least once, for as long as it takes.

Every process has an exporter per sink, on every machine. Whoever holds the export's row sends what comes next; when a
process dies in the middle of it, the row is free once its time is up. How far the sink is moves only after the sink
accepted, and only from where it was read, so whatever goes wrong a request is sent again, never left out.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from polyforge.database.database import Database
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.ids import decode, new_ulid
from polyforge.kernel.request_log import LoggedRequest, RequestBatch
from polyforge.ports.request_log_sink import SEND_SECONDS, RequestLogSink
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.exporting import IDLE_SECONDS, LOOK_SECONDS, AllExporting, Exporting, pause_after
from polyforge.tenancy.request_logs.store import (
    LogDeadLetter,
    LogExportState,
    SystemLogEditor,
    SystemLogStore,
    WaitingBatch,
)
from polyforge.tenancy.sink_failed import REASON_LENGTH, SinkFailed

MOST_REQUESTS: Final = 1_000
"""A bound on what is sent together; what the ledger took in together is not torn apart."""
_MOST_BATCHES: Final = 200
_HELD_SECONDS: Final = SEND_SECONDS + 10.0
_PRUNE_SECONDS: Final = 60.0

_log = get_logger(__name__)


class LogExporter(Exporting[RequestLogSink]):
    """One sink's share of a process. `holder` is unique to the process; `refused` counts what the sink refused."""

    def __init__(
        self,
        name: str,
        sink: RequestLogSink,
        database: Database,
        clock: Clock,
        holder: str,
        refused: Callable[[int], None],
    ) -> None:
        super().__init__(name, "requests", sink)
        self._database = database
        self._clock = clock
        self._holder = holder
        self._refused = refused
        self.lag_seconds = 0.0
        """How long the request has waited that the sink does not have yet, as far as this process knows."""

    async def step(self) -> float:
        """Send what is next, if anything; how many seconds there is nothing to do then."""
        now = self._clock.now()
        async with self._database.read() as session:
            store = SystemLogStore(session)
            state = await store.state(self.name)
            batches = _together(await store.waiting(state.sequence if state else 0, _MOST_BATCHES))
            wanted = await store.wanted(self.name)
        self.lag_seconds = max(0.0, now - batches[0].created_at) if batches else 0.0
        if not batches and wanted is None:
            return IDLE_SECONDS
        if state is not None and state.held_by_another(self._holder, now):
            return LOOK_SECONDS
        rest = self._rest(state, () if wanted else batches, now)
        if rest > 0:
            return min(rest, LOOK_SECONDS)
        claimed = await self._claim()
        if claimed is None or claimed.sequence != (state.sequence if state else 0):
            return LOOK_SECONDS
        return await (self._repeat(claimed, wanted) if wanted else self._export(claimed, batches))

    def _rest(self, state: LogExportState | None, batches: Sequence[WaitingBatch], now: float) -> float:
        """How long to leave the sink alone: it failed, or there may soon be more to send with."""
        if state is not None and state.retry_at > now:
            return state.retry_at - now
        if (
            not batches
            or len(batches) >= _MOST_BATCHES
            or sum(len(batch.record_ids) for batch in batches) >= MOST_REQUESTS
        ):
            return 0.0
        return batches[0].created_at + self._sink.gather_seconds - now

    async def _claim(self) -> LogExportState | None:
        now = self._clock.now()
        async with self._database.write() as session:
            return await SystemLogEditor(session).claim(self.name, self._holder, now, now + _HELD_SECONDS)

    async def _export(self, state: LogExportState, batches: Sequence[WaitingBatch]) -> float:
        first, through = batches[0].sequence, batches[-1].sequence
        async with self._database.read() as session:
            requests = await SystemLogStore(session).requests([each for batch in batches for each in batch.record_ids])
        try:
            refused = await self._send_parts(first, requests)
        except SinkFailed as failure:
            return await self._fail(state, failure)
        async with self._database.write() as session:
            values = {**_SETTLED, "sequence": through}
            moved = await SystemLogEditor(session).change(state, self._holder, values)
            if moved:
                await SystemLogEditor(session).bury(refused)
        if moved and refused:
            self._refused(len(refused))
        self._tell(None)
        return 0 if moved else LOOK_SECONDS

    async def _repeat(self, state: LogExportState, letter: LogDeadLetter) -> float:
        """Send a dead letter again, under a number that no batch has."""
        async with self._database.read() as session:
            requests = await SystemLogStore(session).requests([letter.request_id])
        try:
            reason = await self._send(RequestBatch(decode(letter.id), requests)) if requests else None
        except SinkFailed as failure:
            return await self._fail(state, failure)
        async with self._database.write() as session:
            editor = SystemLogEditor(session)
            if reason is None:
                await editor.remove(letter.id)
            else:
                await editor.refuse_again(letter.id, reason, self._clock.now())
            await editor.change(state, self._holder, _SETTLED)
        self._tell(None)
        return 0

    async def _send_parts(self, first: int, requests: list[LoggedRequest]) -> list[LogDeadLetter]:
        """Send them all. Of a part with refused ones in it, ever smaller ones; those that were refused alone."""
        parts = [requests] if requests else []
        refused: list[LogDeadLetter] = []
        while parts:
            part = parts.pop()
            reason = await self._send(RequestBatch(first, part))
            if reason is None:
                continue
            if len(part) == 1:
                refused.append(LogDeadLetter(new_ulid(), self.name, part[0].id, reason, self._clock.now()))
                _log.warning("a sink refused a request", export=self.name, request_id=part[0].id, reason=reason)
                continue
            middle = len(part) // 2
            parts += [part[middle:], part[:middle]]
            if await self._claim() is None:
                raise SinkFailed(TimeoutError())
        return refused

    async def _send(self, batch: RequestBatch) -> str | None:
        """None once the sink has it, or why it refuses it for good."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._sink.send(batch)
        except Invalid as error:
            return error.message[:REASON_LENGTH]
        except Exception as error:
            # Whatever a sink raises, its requests are kept for it.
            raise SinkFailed(error) from error
        return None

    async def _fail(self, state: LogExportState, failure: SinkFailed) -> float:
        """Leave the sink alone for a while, longer each time."""
        wait = pause_after(failure, state.failures)
        failed = {"failures": state.failures + 1, "retry_at": self._clock.now() + wait, "error": failure.reason}
        async with self._database.write() as session:
            await SystemLogEditor(session).change(state, self._holder, {**_SETTLED, **failed})
        self._tell(failure.reason)
        return min(wait, LOOK_SECONDS)


_SETTLED: Final[dict[str, Any]] = {"failures": 0, "retry_at": 0.0, "error": None, "held_until": 0.0}
"""What is so after a batch; the row is free again."""


def _together(batches: Sequence[WaitingBatch]) -> list[WaitingBatch]:
    """The first of them, as many as may be sent together, but one at least."""
    chosen: list[WaitingBatch] = []
    total = 0
    for batch in batches:
        total += len(batch.record_ids)
        if chosen and total > MOST_REQUESTS:
            break
        chosen.append(batch)
    return chosen


class LogExporters(AllExporting[LogExporter]):
    """All exporters of a process."""

    def __init__(self, exporters: Sequence[LogExporter], database: Database, holder: str) -> None:
        super().__init__("requests", exporters, database, holder)

    async def prune(self) -> int:
        """Let go of batches that every sink has, and of dead letters that are too many; how many batches."""
        async with self._database.write() as session:
            editor, names = SystemLogEditor(session), [exporter.name for exporter in self._exporters]
            for name in names:
                await editor.prune_letters(name)
            return await editor.prune(names)

    def _beside(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [self._prune()]

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(_PRUNE_SECONDS)
            try:
                await self.prune()
            except PolyforgeError as error:
                _log.warning("batches of exported requests are kept for another minute", reason=error.message)

    async def _release(self, session: WriteSession) -> None:
        await SystemLogEditor(session).release(self._holder)

    def lags(self) -> dict[str, float]:
        """Seconds that the oldest request has waited that a sink does not have yet."""
        return {exporter.name: exporter.lag_seconds for exporter in self._exporters}
