"""The kind of job that runs a batch: its lines in parts, each a step that is done once.

A part is read, called, and put down as an object under its number; the answers are the parts one after the other. So
whatever is killed when, no line is lost, doubled or out of its place.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import msgspec

from polyforge.batch.batches.calling import CallsModels
from polyforge.batch.batches.pace import Pace
from polyforge.batch.batches.part import Done, Part, Stop
from polyforge.batch.batches.reading import Plan
from polyforge.batch.batches.records import KIND, Batch
from polyforge.batch.batches.settings import BatchSettings
from polyforge.batch.batches.sources import FileSource, Source, SourceTools, Which
from polyforge.batch.batches.store import BatchEditor, BatchStore
from polyforge.batch.files.service import FileService, scope_of
from polyforge.batch.tables.scratch import Scratch
from polyforge.batch.tables.source import TableSource, TableTools
from polyforge.database.database import Database
from polyforge.dialects.openai_batches import BatchProblem, Status, batch_id
from polyforge.jobs.running import JobContext
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Denied, NotFound, PolyforgeError, Unauthenticated
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.money import to_usd
from polyforge.ports.column_files import ColumnFiles
from polyforge.ports.data_store import DataStore
from polyforge.ports.objects import ObjectStore
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.policy import authorize

PARTS_AT_ONCE = 2
"""While the last calls of one part are waited for, or a disk, those of the next are made."""
_LOOK_SECONDS: Final = 0.5
_CALLER_LOOKS: Final = 10
"""So often it is looked whether the batch goes on before it is looked whether its caller still may."""
_RETRIES: Final = 5
_CANCELLED: Final = "batch_cancelled"
_EXPIRED: Final = "batch_expired"
_REVOKED: Final = "access_revoked"
_ENDS: Final[dict[str, Status]] = {_CANCELLED: "cancelled", _EXPIRED: "expired", _REVOKED: "failed"}
_log = get_logger(__name__)

CurrentCaller = Callable[[Caller], Awaitable[Caller]]
"""What somebody who asked for a job may do now; Unauthenticated when that is nothing any more."""


class BatchTools(msgspec.Struct, frozen=True):
    """What batches run with."""

    settings: BatchSettings
    database: Database
    objects: ObjectStore
    files: FileService
    calls: CallsModels
    pace: Pace
    current: CurrentCaller
    clock: Clock
    stores: Mapping[str, DataStore]
    columns: ColumnFiles
    scratch: Scratch


class BatchKind:
    """Runs batches."""

    name = KIND

    def __init__(self, tools: BatchTools) -> None:
        self._tools = tools

    async def run(self, context: JobContext) -> Any:
        """Run one to its end, and tell what came of it."""
        return await _Run(self._tools, context).run()


class _PartEnd(msgspec.Struct, frozen=True):
    """What a step says of a part."""

    done: Done
    stopped: str = ""
    message: str = ""


class _Start(msgspec.Struct, frozen=True):
    """What the first step finds."""

    plan: Plan
    output_id: str
    error_id: str


class _Run:
    """One attempt at a batch."""

    def __init__(self, tools: BatchTools, context: JobContext) -> None:
        self._tools = tools
        self._context = context
        self._caller = context.job.caller
        self._scope = scope_of(self._caller)
        self._ulid: str = context.job.args["batch"]
        self._stop = Stop()
        self._looked = False
        self._total = 0
        self._ended = Done()
        """What came of the parts that are done."""
        self._open: dict[int, Part] = {}
        """Parts that are not."""
        self._counted: Done | None = None

    async def run(self) -> Any:
        """All of it."""
        batch = await self._find()
        source = self._source(batch)
        start = msgspec.convert(await self._step("validate", partial(self._validate, source)), _Start)
        if start.plan.problems:
            self._context.log("error", f"the input will not do: {start.plan.problems[0].message}")
            return await self._step("refuse", partial(self._refuse, source, start.plan.problems))
        self._total = start.plan.total
        async with self._watching(batch):
            ends = await self._parts(batch, source, start.plan)
        output = await self._step("output", partial(self._assemble, source, "output", ends, start.output_id))
        errors = await self._step("errors", partial(self._assemble, source, "errors", ends, start.error_id))
        result = await self._step("end", partial(self._end, source, ends, output, errors))
        await self._step("tidy", source.tidy)
        return result

    def _source(self, batch: Batch) -> Source:
        tools, exchange = self._tools, batch.exchange
        if exchange is None:
            return FileSource(SourceTools(tools.settings, tools.objects, tools.files), batch, self._caller)
        store, declared = tools.stores.get(exchange.store), tools.settings.stores.get(exchange.store)
        if store is None or declared is None or not declared.serves(self._caller.project_id):
            raise NotFound(f"there is no store {exchange.store!r} any more; the operator declares them")
        return TableSource(
            TableTools(tools.settings, tools.objects, tools.columns, tools.scratch),
            store,
            batch,
            exchange,
            self._caller,
        )

    async def _step(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        return await self._context.step(name, work, retries=_RETRIES)

    async def _find(self) -> Batch:
        async with self._tools.database.read(self._scope) as session:
            found = await BatchStore(session, self._scope).find(self._ulid)
        if found is None:
            raise NotFound(f"there is no batch {batch_id(self._ulid)!r} any more")
        return found

    async def _change(self, **values: Any) -> None:
        async with self._tools.database.write(self._scope) as session:
            await BatchEditor(session, self._scope).change(self._ulid, values)

    async def _advance(self, status: Status, **values: Any) -> None:
        async with self._tools.database.write(self._scope) as session:
            await BatchEditor(session, self._scope).advance(self._ulid, status, values)

    async def _validate(self, source: Source) -> Any:
        """Read everything once; what is wrong with it, or where its parts begin."""
        plan = await source.plan()
        if not plan.problems:
            await self._advance("in_progress", in_progress_at=self._tools.clock.now())
            await self._change(total=plan.total)
        return msgspec.to_builtins(_Start(plan, new_ulid(), new_ulid()))

    async def _refuse(self, source: Source, problems: list[BatchProblem]) -> Any:
        await self._change(status="failed", problems=problems, ended_at=self._tools.clock.now())
        await source.tidy()
        return {"status": "failed", "problems": len(problems)}

    # Parts

    async def _parts(self, batch: Batch, source: Source, plan: Plan) -> list[_PartEnd]:
        """What came of each part; some are worked on at once."""
        ends: list[_PartEnd | None] = [None] * len(plan.parts)
        waiting = iter(enumerate(plan.parts))

        async def work() -> None:
            for number, place in waiting:
                made = await self._step(f"part-{number}", partial(self._work, batch, source, number, place))
                ends[number] = self._over(number, msgspec.convert(made, _PartEnd))

        tasks = [asyncio.create_task(work(), name="batch parts") for _ in range(PARTS_AT_ONCE)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [end for end in ends if end is not None]

    def _over(self, number: int, end: _PartEnd) -> _PartEnd:
        """A part is done."""
        self._open.pop(number, None)
        self._ended = self._ended.then(end.done)
        if end.stopped:
            self._stop.ask(end.stopped, end.message)
        self._tell()
        return end

    async def _work(self, batch: Batch, source: Source, number: int, place: list[int]) -> Any:
        """Make the calls of one part, and put down what came of them."""
        tools, stop = self._tools, self._stop
        lines = await source.lines(number, place)
        if not self._looked:
            await self._allow()
            await self._look(batch)
            self._looked = True
        part = Part(
            self._ulid, batch.endpoint, lines, self._caller, tools.calls, tools.pace, stop, source.writer, self._tell
        )
        self._open[number] = part
        await part.run(tools.settings.lines_at_once, tools.settings.inputs_at_once)
        await source.keep(number, part)
        done = part.done()
        return msgspec.to_builtins(_PartEnd(done, stop.code, stop.message) if part.undone else _PartEnd(done))

    async def _allow(self) -> None:
        """Whoever made the batch, as they stand now."""
        try:
            caller = await self._tools.current(self._caller)
            authorize(caller, "inference")
        except (Unauthenticated, Denied, NotFound) as error:
            self._stop.ask(_REVOKED, f"whoever made the batch may not call models any more: {error.message}")
            return
        self._caller = caller

    @asynccontextmanager
    async def _watching(self, batch: Batch) -> AsyncGenerator[None]:
        """Look meanwhile whether it is to go on, and say how far it is."""
        watcher = asyncio.create_task(self._watch(batch), name="batch watcher")
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _watch(self, batch: Batch) -> None:
        looks = 0
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            looks += 1
            try:
                await self._look(batch)
                await self._count(self._so_far())
                if looks % _CALLER_LOOKS == 0:
                    await self._allow()
            except PolyforgeError as error:
                _log.warning("a batch cannot be looked after for now", batch=self._ulid, reason=error.message)

    async def _look(self, batch: Batch) -> None:
        """Is it over, or does somebody want it to be?"""
        if self._tools.clock.now() >= batch.window_ends_at:
            self._stop.ask(_EXPIRED, "the batch's time was over before this call was made")
        if (await self._find()).status == "cancelling":
            self._stop.ask(_CANCELLED, "the batch was cancelled before this call was made")

    def _so_far(self) -> Done:
        done = self._ended
        for part in self._open.values():
            done = done.then(part.done())
        return done

    async def _count(self, done: Done) -> None:
        if done != self._counted:
            await self._change(completed=done.completed, failed=done.failed, usage=done.usage, price_micros=done.price)
            self._counted = done

    def _tell(self) -> None:
        """How far it is, and what it cost so far."""
        ended = self._ended
        over = ended.completed + ended.failed + sum(part.over for part in self._open.values())
        note = f"{to_usd(ended.price):.6f} USD" if ended.price else ""
        self._context.progress(over, self._total, "lines", note)

    # The end

    async def _assemble(self, source: Source, which: Which, ends: list[_PartEnd], id_: str) -> str | None:
        await self._advance("finalizing", finalizing_at=self._tools.clock.now())
        return await source.assemble(which, [end.done for end in ends], id_)

    async def _end(self, source: Source, ends: list[_PartEnd], output: str | None, errors: str | None) -> Any:
        stopped = next((end for end in ends if end.stopped), None)
        status: Status = "completed" if stopped is None else _ENDS[stopped.stopped]
        problems: list[BatchProblem] = []
        if stopped is not None and status == "failed":
            problems.append(BatchProblem(stopped.stopped, stopped.message))
        done = self._ended
        columns, told = source.ended(output, errors)
        await self._count(done)
        await self._change(status=status, problems=problems, ended_at=self._tools.clock.now(), **columns)
        return {
            "status": status,
            "completed": done.completed,
            "failed": done.failed,
            "price_usd": to_usd(done.price),
            **told,
        }
