"""A table in a store as the source of a batch's lines.

The table is read once, as it is when the batch begins: its rows are put down as parts of our own, so that what happens
to it later changes nothing. What came of each row is put down in parts too, and both are written together at the end.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from polyforge.batch.batches.calling import EMBEDDINGS
from polyforge.batch.batches.part import Done, Part
from polyforge.batch.batches.reading import Plan, raw_lines
from polyforge.batch.batches.records import Batch, part_key, parts_prefix
from polyforge.batch.batches.settings import BatchSettings
from polyforge.batch.batches.sources import Which, remove_parts
from polyforge.batch.batches.writing import Writer
from polyforge.batch.files.service import scope_of
from polyforge.batch.tables.answers import TableWriter
from polyforge.batch.tables.csv_rows import answer_cell, csv_lines, csv_rows
from polyforge.batch.tables.records import Exchange
from polyforge.batch.tables.scratch import Scratch
from polyforge.batch.tables.template import Template
from polyforge.dialects.openai_batches import BatchProblem, Line
from polyforge.kernel.errors import Invalid, NotConfigured, NotFound, TooLarge
from polyforge.ports.column_files import ColumnFiles, TableLimits
from polyforge.ports.data_store import DataStore
from polyforge.ports.objects import ObjectStore
from polyforge.tenancy.callers import Caller

PART_ROWS = 500
_PART_BYTES: Final = 16 * 1024 * 1024
_TABLE: Final = "table"
_HEADER: Final = "header"
_FAILED: Final = 1
"""The place of the error among the added columns."""
_encode: Final = msgspec.json.Encoder().encode
_cells: Final = msgspec.json.Decoder(list[str]).decode
_object: Final = msgspec.json.Decoder(dict[str, Any]).decode


class TableTools(msgspec.Struct, frozen=True):
    """What tables need."""

    settings: BatchSettings
    objects: ObjectStore
    columns: ColumnFiles
    scratch: Scratch


class TableSource:
    """The rows of a table. `store` is where it lies."""

    def __init__(self, tools: TableTools, store: DataStore, batch: Batch, exchange: Exchange, caller: Caller) -> None:
        self._tools = tools
        self._store = store
        self._batch = batch
        self._exchange = exchange
        self._scope = scope_of(caller)
        self._template = Template(exchange.template)
        self._names: list[str] | None = None
        self.writer: Writer = TableWriter(exchange.added)

    # Reading

    async def plan(self) -> Plan:
        """Read the whole table once, and put its rows down."""
        await self.tidy()
        exchange = self._exchange
        try:
            if not exchange.replace:
                await self._require_room(exchange.output, exchange.errors)
            return await self._staged()
        except NotFound:
            problem = BatchProblem(
                "input_not_found", f"there is no {exchange.input!r} in {exchange.store}", param="input"
            )
        except (Invalid, TooLarge, NotConfigured) as error:
            problem = BatchProblem("invalid_input", error.message, param=error.param)
        return Plan(problems=[problem])

    async def _require_room(self, *paths: str) -> None:
        for path in paths:
            if await self._store.stat(path) is not None:
                raise Invalid(f"there is something at {path!r} already; set `replace`, or name another", param="output")

    async def _staged(self) -> Plan:
        exchange, tools = self._exchange, self._tools
        content = self._store.get(exchange.input)
        if exchange.format != "parquet":
            async with aclosing(content):
                rows = self._of_csv(content) if exchange.format == "csv" else self._of_lines(content)
                return await self._put_down(rows)
        await tools.objects.put(self._key(_TABLE), content)
        async with tools.scratch.folder() as folder:
            table, lines = folder / "table", folder / "lines"
            await tools.scratch.write(table, tools.objects.get(self._key(_TABLE)))
            self._check_names(await tools.columns.names(table))
            limits = TableLimits(tools.settings.max_lines, tools.settings.max_line_bytes)
            await tools.columns.rows(table, lines, sorted(self._template.columns), limits)
            return await self._put_down(self._of_lines(tools.scratch.read(lines)))

    async def _of_csv(self, content: AsyncIterable[bytes]) -> AsyncGenerator[tuple[int, bytes]]:
        names: list[str] | None = None
        async with aclosing(csv_rows(content, self._tools.settings.max_line_bytes, self._exchange.delimiter)) as rows:
            async for row in rows:
                if names is None:
                    names = row.cells
                    self._check_names(names)
                    await self._tools.objects.put(self._key(_HEADER), _whole(_encode(names)))
                    self._names = names
                    continue
                if len(row.cells) != len(names):
                    raise Invalid(f"line {row.line}: it has {len(row.cells)} cells, and the header {len(names)}")
                yield row.line, _encode(row.cells)

    async def _of_lines(self, content: AsyncIterable[bytes]) -> AsyncGenerator[tuple[int, bytes]]:
        async with aclosing(raw_lines(content, self._tools.settings.max_line_bytes)) as lines:
            async for raw in lines:
                yield raw.number, raw.content.strip()

    async def _put_down(self, rows: AsyncGenerator[tuple[int, bytes]]) -> Plan:
        """The rows in parts; each is looked at as it will be asked for."""
        plan, waiting, size, total = Plan(parts=[]), list[bytes](), 0, 0
        async with aclosing(rows):
            async for line, row in rows:
                total += 1
                if total > self._tools.settings.max_lines:
                    raise Invalid(f"the table has more than {self._tools.settings.max_lines} rows; split it")
                length = max(len(row), self._checked(line, row))
                if waiting and (len(waiting) >= PART_ROWS or size + length > _PART_BYTES):
                    await self._put_part(plan, waiting, total - 1 - len(waiting))
                    waiting, size = [], 0
                waiting.append(row)
                size += length
        if not total:
            raise Invalid("the table has no rows")
        await self._put_part(plan, waiting, total - len(waiting))
        return Plan(total, plan.parts)

    async def _put_part(self, plan: Plan, rows: Sequence[bytes], before: int) -> None:
        await self._tools.objects.put(self._part("input", len(plan.parts)), _whole(b"\n".join(rows)))
        plan.parts.append([before + 1, len(rows)])

    def _check_names(self, names: Sequence[str]) -> None:
        if len(set(names)) < len(names):
            raise Invalid("two columns of the table have the same name")
        if missing := sorted(self._template.columns - set(names)):
            raise Invalid(f"the table has no column {missing[0]!r}; it has {', '.join(names[:50])}", param="body")
        if taken := sorted(set(self._exchange.added) & set(names)):
            raise Invalid(f"the table has a column {taken[0]!r} already; set `prefix`", param="prefix")

    def _checked(self, line: int, row: bytes) -> int:
        """How many bytes its call has."""
        try:
            values = self._values(row)
            body = self._template.fill(values)
        except Invalid as error:
            raise Invalid(f"line {line}: {error.message}", param=error.param) from None
        except (msgspec.DecodeError, RecursionError):
            raise Invalid(f"line {line}: it is no JSON object") from None
        if taken := sorted(set(self._exchange.added) & values.keys()):
            raise Invalid(f"line {line}: it has a field {taken[0]!r} already; set `prefix`", param="prefix")
        if len(body) > self._tools.settings.max_line_bytes:
            raise TooLarge(f"line {line}: its call would have {len(body)} bytes")
        if self._batch.endpoint == EMBEDDINGS and not isinstance(_object(body).get("input"), str):
            raise Invalid(f"line {line}: input must be one text", param="body")
        return len(body)

    def _values(self, row: bytes) -> dict[str, Any]:
        if self._exchange.format != "csv":
            return _object(row)
        return dict(zip(self._names or (), _cells(row), strict=True))

    async def lines(self, number: int, place: list[int]) -> list[Line]:
        """The calls for the rows of a part."""
        await self._know_names()
        rows = await self._rows("input", number)
        return [
            Line(place[0] + index, str(place[0] + index), self._template.fill(self._values(row)))
            for index, row in enumerate(rows)
        ]

    async def _know_names(self) -> None:
        if self._names is None and self._exchange.format == "csv":
            self._names = _cells(await self._object(self._key(_HEADER)))

    # Writing

    async def keep(self, number: int, part: Part) -> None:
        """Put down what came of a part: each row has something."""
        await self._tools.objects.put(self._part("output", number), part.everything())

    async def assemble(self, which: Which, ends: list[Done], id_: str) -> str | None:
        """Write the table with its new columns into the store; its path."""
        del id_
        failed_only = which == "errors"
        if failed_only and not any(end.failed for end in ends):
            return None
        path = self._exchange.errors if failed_only else self._exchange.output
        if self._exchange.format == "parquet":
            await self._put_columns(path, len(ends), failed_only=failed_only)
        else:
            await self._store.put(path, self._written(len(ends), failed_only=failed_only))
        return path

    async def _put_columns(self, path: str, parts: int, *, failed_only: bool) -> None:
        tools = self._tools
        async with tools.scratch.folder() as folder:
            table, answers, target = folder / "table", folder / "answers", folder / "target"
            await tools.scratch.write(table, tools.objects.get(self._key(_TABLE)))
            await tools.scratch.write(answers, self._all_answers(parts))
            await tools.columns.join(table, answers, target, failed_only=failed_only)
            await self._store.put(path, tools.scratch.read(target))

    async def _all_answers(self, parts: int) -> AsyncGenerator[bytes]:
        for number in range(parts):
            async with aclosing(self._tools.objects.get(self._part("output", number))) as pieces:
                async for piece in pieces:
                    yield piece

    async def _written(self, parts: int, *, failed_only: bool) -> AsyncGenerator[bytes]:
        await self._know_names()
        if self._names is not None:
            yield csv_lines([[*self._names, *self._exchange.added]], self._exchange.delimiter)
        for number in range(parts):
            rows, answers = await self._rows("input", number), await self._rows("output", number)
            yield await asyncio.to_thread(self._joined, rows, answers, failed_only)

    def _joined(self, rows: Sequence[bytes], answers: Sequence[bytes], failed_only: bool) -> bytes:
        pairs = zip(rows, answers, strict=True)
        if failed_only:
            error = self._exchange.added[_FAILED]
            pairs = ((row, answer) for row, answer in pairs if _object(answer)[error] is not None)
        if self._exchange.format == "csv":
            cells = ([*_cells(row), *map(answer_cell, _object(answer).values())] for row, answer in pairs)
            return csv_lines(cells, self._exchange.delimiter)
        return b"".join(_with(row, answer) for row, answer in pairs)

    def ended(self, output: str | None, errors: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Where the answers lie."""
        return {}, {"store": self._exchange.store, "output": output, "errors": errors}

    async def tidy(self) -> None:
        """Let go of what was put down."""
        await remove_parts(self._tools.objects, parts_prefix(self._scope, self._batch.id))

    # What is put down

    def _key(self, name: str) -> str:
        return f"{parts_prefix(self._scope, self._batch.id)}{name}"

    def _part(self, kind: str, number: int) -> str:
        return part_key(self._scope, self._batch.id, kind, number)

    async def _rows(self, kind: str, number: int) -> list[bytes]:
        return [row for row in (await self._object(self._part(kind, number))).split(b"\n") if row]

    async def _object(self, key: str) -> bytes:
        return b"".join([piece async for piece in self._tools.objects.get(key)])


async def _whole(content: bytes) -> AsyncGenerator[bytes]:
    yield content


def _with(row: bytes, answer: bytes) -> bytes:
    """An object with the fields of another after its own, which stay as they were written."""
    own = row.rstrip()[:-1].rstrip()
    return own + (b"" if own.endswith(b"{") else b",") + answer[1:] + b"\n"
