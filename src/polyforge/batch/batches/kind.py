"""The kind of job that runs a batch: its lines in parts, each a step that is done once.

A part is read out of the input file, called, and put down as an object under its number; the file of answers is the
parts one after the other. So whatever is killed when, no line is lost, doubled or out of its place.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final

import msgspec

from polyforge.batch.batches.calling import CallsModels
from polyforge.batch.batches.pace import Pace
from polyforge.batch.batches.part import Done, Part, Stop
from polyforge.batch.batches.reading import Plan, Planner, raw_lines
from polyforge.batch.batches.records import KIND, Batch, part_key, parts_prefix
from polyforge.batch.batches.settings import BatchSettings
from polyforge.batch.batches.store import BatchEditor, BatchStore
from polyforge.batch.files.records import File, Wish
from polyforge.batch.files.service import FileService, scope_of
from polyforge.database.database import Database
from polyforge.dialects.openai_batches import BatchProblem, Line, Status, batch_id, read_line
from polyforge.dialects.openai_files import BATCH_OUTPUT, file_id
from polyforge.jobs.running import JobContext
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Denied, NotFound, PolyforgeError, TooLarge, Unauthenticated
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.money import to_usd
from polyforge.ports.objects import ObjectStore
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.policy import authorize

PART_LINES = 500
"""Lines between two checkpoints."""
PART_BYTES: Final = 32 * 1024 * 1024
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
        self._before = Done()

    async def run(self) -> Any:
        """All of it."""
        batch = await self._find()
        start = msgspec.convert(await self._step("validate", partial(self._validate, batch)), _Start)
        if start.plan.problems:
            self._context.log("error", f"the input file will not do: {start.plan.problems[0].message}")
            return await self._step("refuse", partial(self._refuse, start.plan.problems))
        ends: list[_PartEnd] = []
        for number, place in enumerate(start.plan.parts):
            earlier = next((each for each in ends if each.stopped), None)
            work = partial(self._work, batch, number, place, start.plan.total, earlier)
            end = msgspec.convert(await self._step(f"part-{number}", work), _PartEnd)
            ends.append(end)
            self._before = self._before.then(end.done)
            self._tell(0, start.plan.total)
        output = await self._step("output", partial(self._assemble, batch, ends, "output", start.output_id))
        errors = await self._step("errors", partial(self._assemble, batch, ends, "errors", start.error_id))
        result = await self._step("end", partial(self._end, ends, output, errors))
        await self._step("tidy", self._tidy)
        return result

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

    async def _validate(self, batch: Batch) -> Any:
        """Read the whole file once; what is wrong with it, or where its parts begin."""
        settings = self._tools.settings
        planner = Planner(batch.endpoint, settings.max_lines, PART_LINES, PART_BYTES)
        try:
            file = await self._tools.files.get(self._caller, batch.input_file_id)
            async with aclosing(raw_lines(self._content(file), settings.max_line_bytes)) as lines:
                async for raw in lines:
                    if not planner.add(raw):
                        break
        except NotFound:
            planner.refuse("file_not_found", f"the file {file_id(batch.input_file_id)} was deleted")
        except TooLarge as error:
            planner.refuse("line_too_long", error.message)
        plan = planner.plan()
        if not plan.problems:
            await self._advance("in_progress", in_progress_at=self._tools.clock.now())
            await self._change(total=plan.total)
        return msgspec.to_builtins(_Start(plan, new_ulid(), new_ulid()))

    def _content(self, file: File, first: int = 0, count: int | None = None) -> AsyncGenerator[bytes]:
        return self._tools.files.content(self._caller, file, first, count)

    async def _refuse(self, problems: list[BatchProblem]) -> Any:
        await self._change(status="failed", problems=problems, ended_at=self._tools.clock.now())
        return {"status": "failed", "problems": len(problems)}

    async def _work(self, batch: Batch, number: int, place: list[int], total: int, earlier: _PartEnd | None) -> Any:
        """Make the calls of one part, and put down what came of them."""
        stop, tools = Stop(), self._tools
        if earlier is not None:
            stop.ask(earlier.stopped, earlier.message)
        lines = await self._lines(batch, place)
        caller = await self._allowed(stop)
        await self._look(batch, stop)
        made = 0

        def told(lines_over: int) -> None:
            nonlocal made
            made += lines_over
            self._tell(made, total)

        part = Part(self._ulid, batch.endpoint, lines, caller, tools.calls, tools.pace, stop, told)
        async with self._watching(batch, stop, part):
            await part.run(tools.settings.lines_at_once, tools.settings.inputs_at_once)
        done = part.done()
        if done.output:
            await tools.objects.put(part_key(self._scope, self._ulid, "output", number), part.output())
        if done.errors:
            await tools.objects.put(part_key(self._scope, self._ulid, "errors", number), part.errors())
        await self._count(self._before.then(done))
        return msgspec.to_builtins(_PartEnd(done, stop.code, stop.message) if part.undone else _PartEnd(done))

    async def _lines(self, batch: Batch, place: list[int]) -> list[Line]:
        """The lines of a part, which were found right before."""
        first, size, number, _ = place
        found: list[Line] = []
        try:
            file = await self._tools.files.get(self._caller, batch.input_file_id)
            async with aclosing(raw_lines(self._content(file, first, size), PART_BYTES, number)) as lines:
                async for raw in lines:
                    line = read_line(raw.content, raw.number, batch.endpoint)
                    if isinstance(line, Line):
                        found.append(line)
        except NotFound:
            raise Conflict("the input file was deleted while the batch ran") from None
        return found

    async def _allowed(self, stop: Stop) -> Caller:
        """Whoever made the batch, as they stand now."""
        try:
            caller = await self._tools.current(self._caller)
            authorize(caller, "inference")
        except (Unauthenticated, Denied, NotFound) as error:
            stop.ask(_REVOKED, f"whoever made the batch may not call models any more: {error.message}")
            return self._caller
        return caller

    @asynccontextmanager
    async def _watching(self, batch: Batch, stop: Stop, part: Part) -> AsyncGenerator[None]:
        """Look meanwhile whether it is to go on."""
        watcher = asyncio.create_task(self._watch(batch, stop, part), name="batch watcher")
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _watch(self, batch: Batch, stop: Stop, part: Part) -> None:
        looks = 0
        while True:
            try:
                await self._look(batch, stop)
                if looks and looks % _CALLER_LOOKS == 0:
                    await self._allowed(stop)
                    await self._count(self._before.then(part.done()))
            except PolyforgeError as error:
                _log.warning("a batch cannot be looked after for now", batch=self._ulid, reason=error.message)
            looks += 1
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self, batch: Batch, stop: Stop) -> None:
        """Is it over, or does somebody want it to be?"""
        if self._tools.clock.now() >= batch.window_ends_at:
            stop.ask(_EXPIRED, "the batch's time was over before this call was made")
        if (await self._find()).status == "cancelling":
            stop.ask(_CANCELLED, "the batch was cancelled before this call was made")

    async def _count(self, done: Done) -> None:
        await self._change(completed=done.completed, failed=done.failed, usage=done.usage, price_micros=done.price)

    def _tell(self, made: int, total: int) -> None:
        """How far it is, and what it cost so far."""
        over = self._before.completed + self._before.failed + made
        note = f"{to_usd(self._before.price):.6f} USD" if self._before.price else ""
        self._context.progress(over, total, "lines", note)

    async def _assemble(self, batch: Batch, ends: list[_PartEnd], kind: str, id_: str) -> str | None:
        """The parts one after the other as a file; None where there is nothing to say."""
        await self._advance("finalizing", finalizing_at=self._tools.clock.now())
        sizes = [getattr(end.done, kind) for end in ends]
        if not any(sizes):
            return None

        async def told() -> Wish:
            return Wish(BATCH_OUTPUT, batch.output_seconds)

        async def content() -> AsyncGenerator[bytes]:
            for number, size in enumerate(sizes):
                if size:
                    async with aclosing(
                        self._tools.objects.get(part_key(self._scope, self._ulid, kind, number))
                    ) as part:
                        async for piece in part:
                            yield piece

        name = f"{batch_id(self._ulid)}_{'output' if kind == 'output' else 'error'}.jsonl"
        kept = await self._tools.files.keep(self._caller, name, content(), told, id_)
        return kept.id

    async def _end(self, ends: list[_PartEnd], output: str | None, errors: str | None) -> Any:
        stopped = next((end for end in ends if end.stopped), None)
        status: Status = "completed" if stopped is None else _ENDS[stopped.stopped]
        problems: list[BatchProblem] = []
        if stopped is not None and status == "failed":
            problems.append(BatchProblem(stopped.stopped, stopped.message))
        done = self._before
        await self._count(done)
        await self._change(
            status=status,
            problems=problems,
            output_file_id=output,
            error_file_id=errors,
            ended_at=self._tools.clock.now(),
        )
        return {
            "status": status,
            "completed": done.completed,
            "failed": done.failed,
            "price_usd": to_usd(done.price),
            "output_file_id": None if output is None else file_id(output),
            "error_file_id": None if errors is None else file_id(errors),
        }

    async def _tidy(self) -> None:
        """Let go of the parts, which the files hold now."""
        await remove_parts(self._tools.objects, parts_prefix(self._scope, self._ulid))


async def remove_parts(objects: ObjectStore, prefix: str) -> None:
    """Delete what lies below a prefix."""
    keys = [facts.key async for facts in objects.list(prefix)]
    for key in keys:
        await objects.delete(key)
