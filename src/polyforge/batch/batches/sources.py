"""Where the lines of a batch come from, and where what came of them goes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal, Protocol

import msgspec

from polyforge.batch.batches.part import Done, Part
from polyforge.batch.batches.reading import Plan, Planner, raw_lines
from polyforge.batch.batches.records import Batch, part_key, parts_prefix
from polyforge.batch.batches.settings import BatchSettings
from polyforge.batch.batches.writing import OpenAIWriter, Writer
from polyforge.batch.files.records import File, Wish
from polyforge.batch.files.service import FileService, scope_of
from polyforge.dialects.openai_batches import Line, batch_id, read_line
from polyforge.dialects.openai_files import BATCH_OUTPUT, file_id
from polyforge.kernel.errors import Conflict, NotFound, TooLarge
from polyforge.ports.objects import ObjectStore
from polyforge.tenancy.callers import Caller

PART_LINES = 500
"""Lines between two checkpoints."""
PART_BYTES = 32 * 1024 * 1024
Which = Literal["output", "errors"]


class Source(Protocol):
    """One batch's, for one attempt. Everything may be done again after a crash, and then gives the same."""

    @property
    def writer(self) -> Writer:
        """How what came of a line is written down."""
        ...

    async def plan(self) -> Plan:
        """Read all lines once: what is wrong with them, or where the parts begin."""
        ...

    async def lines(self, number: int, place: list[int]) -> list[Line]:
        """The lines of a part, which were found right before."""
        ...

    async def keep(self, number: int, part: Part) -> None:
        """Put down what came of a part."""
        ...

    async def assemble(self, which: Which, ends: list[Done], id_: str) -> str | None:
        """The parts one after the other, as a whole; what it is called, None where there is nothing to say."""
        ...

    def ended(self, output: str | None, errors: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the row and the job's result say of what was assembled."""
        ...

    async def tidy(self) -> None:
        """Let go of what is needed no more."""
        ...


class SourceTools(msgspec.Struct, frozen=True):
    """What sources need."""

    settings: BatchSettings
    objects: ObjectStore
    files: FileService


class FileSource:
    """A file of calls, as OpenAI's batches have them; the answers are a file of the same project."""

    def __init__(self, tools: SourceTools, batch: Batch, caller: Caller) -> None:
        self._tools = tools
        self._batch = batch
        self._caller = caller
        self._scope = scope_of(caller)
        self._file: File | None = None
        self.writer: Writer = OpenAIWriter(batch.id)

    async def plan(self) -> Plan:
        """Read the whole file once."""
        batch, settings = self._batch, self._tools.settings
        planner = Planner(batch.endpoint, settings.max_lines, PART_LINES, PART_BYTES)
        try:
            async with aclosing(raw_lines(await self._content(), settings.max_line_bytes)) as lines:
                async for raw in lines:
                    if not planner.add(raw):
                        break
        except NotFound:
            planner.refuse("file_not_found", f"the file {file_id(batch.input_file_id)} was deleted")
        except TooLarge as error:
            planner.refuse("line_too_long", error.message)
        return planner.plan()

    async def lines(self, number: int, place: list[int]) -> list[Line]:
        """The lines of a part."""
        del number
        first, size, line_number, _ = place
        found: list[Line] = []
        try:
            content = await self._content(first, size)
            async with aclosing(raw_lines(content, PART_BYTES, line_number)) as lines:
                async for raw in lines:
                    line = read_line(raw.content, raw.number, self._batch.endpoint)
                    if isinstance(line, Line):
                        found.append(line)
        except NotFound:
            raise Conflict("the input file was deleted while the batch ran") from None
        return found

    async def keep(self, number: int, part: Part) -> None:
        """Put down what came of a part."""
        done, ulid = part.done(), self._batch.id
        if done.output:
            await self._tools.objects.put(part_key(self._scope, ulid, "output", number), part.output())
        if done.errors:
            await self._tools.objects.put(part_key(self._scope, ulid, "errors", number), part.errors())

    async def assemble(self, which: Which, ends: list[Done], id_: str) -> str | None:
        """The parts as a file of this id."""
        sizes = [end.output if which == "output" else end.errors for end in ends]
        if not any(sizes):
            return None

        async def told() -> Wish:
            return Wish(BATCH_OUTPUT, self._batch.output_seconds)

        name = f"{batch_id(self._batch.id)}_{'output' if which == 'output' else 'error'}.jsonl"
        kept = await self._tools.files.keep(self._caller, name, self._parts(which, sizes), told, id_)
        return kept.id

    def ended(self, output: str | None, errors: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The ids of the files."""
        told = {
            "output_file_id": None if output is None else file_id(output),
            "error_file_id": None if errors is None else file_id(errors),
        }
        return {"output_file_id": output, "error_file_id": errors}, told

    async def tidy(self) -> None:
        """Let go of the parts, which the files hold now."""
        await remove_parts(self._tools.objects, parts_prefix(self._scope, self._batch.id))

    async def _content(self, first: int = 0, count: int | None = None) -> AsyncGenerator[bytes]:
        if self._file is None:
            self._file = await self._tools.files.get(self._caller, self._batch.input_file_id)
        return self._tools.files.content(self._caller, self._file, first, count)

    async def _parts(self, which: Which, sizes: list[int]) -> AsyncGenerator[bytes]:
        for number, size in enumerate(sizes):
            if size:
                key = part_key(self._scope, self._batch.id, which, number)
                async with aclosing(self._tools.objects.get(key)) as part:
                    async for piece in part:
                        yield piece


async def remove_parts(objects: ObjectStore, prefix: str) -> None:
    """Delete what lies below a prefix."""
    keys = [facts.key async for facts in objects.list(prefix)]
    for key in keys:
        await objects.delete(key)
