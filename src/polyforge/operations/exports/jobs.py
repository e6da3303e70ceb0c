"""The kind of job that writes requests into a file."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from decimal import Decimal
from typing import Any, Final

import msgspec

from polyforge.jobs.running import JobContext
from polyforge.kernel.clock import utc
from polyforge.operations.exports.records import KIND, ExportedFile, order_of
from polyforge.operations.exports.service import NEEDS
from polyforge.ports.table_writer import Cell, Column, TableWriter
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.history.records import Entry, Which
from polyforge.tenancy.history.service import HistoryService
from polyforge.tenancy.policy import authorize
from polyforge.tenancy.standing import Standing
from polyforge.tenancy.usage.exporting import MakeWriter

ROWS: Final = 1_000
"""Requests that are read and written together."""
RETRIES: Final = 2
COLUMNS: Final = (
    Column("id", "text"),
    Column("started_at", "time"),
    Column("duration_ms", "integer"),
    Column("key", "text"),
    Column("user", "text"),
    Column("end_user", "text"),
    Column("path", "text"),
    Column("task", "text"),
    Column("model", "text"),
    Column("provider", "text"),
    Column("deployment", "text"),
    Column("stream", "integer"),
    Column("status", "text"),
    Column("http_status", "integer"),
    Column("error", "text"),
    Column("tags", "text"),
    Column("cached", "text"),
    Column("input_tokens", "integer"),
    Column("cached_tokens", "integer"),
    Column("output_tokens", "integer"),
    Column("cost_usd", "money"),
    Column("price_usd", "money"),
    Column("attempts", "integer"),
)

KeepFile = Callable[[Caller, str, AsyncIterable[bytes]], Awaitable[tuple[str, int]]]
"""Keeps a file of that name for a caller; gives its id, and its size."""


class RequestExport:
    """Reads requests page by page, the newest first, and writes them as they come: nothing is held as a whole.

    The file is there when it is complete. A run that is repeated writes another one; what it replaces expires.
    """

    name = KIND

    def __init__(self, history: HistoryService, standing: Standing, make_writer: MakeWriter, keep: KeepFile) -> None:
        self._history = history
        self._standing = standing
        self._make_writer = make_writer
        self._keep = keep

    async def run(self, context: JobContext) -> Any:
        """Write the file."""
        job = context.job
        order = order_of(job.args)
        which = order.which(job.created_at)
        caller = await self._standing.confirmed(job.caller)
        authorize(caller, NEEDS)

        async def write() -> Any:
            return msgspec.to_builtins(await self._write(context, caller, order.format, which))

        return await context.step("file", write, retries=RETRIES)

    async def _write(self, context: JobContext, caller: Caller, format_: str, which: Which) -> ExportedFile:
        writer = await self._make_writer(format_)
        written = _Written()
        async with aclosing(self._content(context, caller, which, writer, written)) as content:
            file_id, size = await self._keep(caller, f"requests.{writer.suffix}", content)
        context.log("info", f"{written.rows} requests in {size} bytes: {file_id}")
        return ExportedFile(file_id, written.rows, size)

    async def _content(
        self, context: JobContext, caller: Caller, which: Which, writer: TableWriter, written: "_Written"
    ) -> AsyncGenerator[bytes]:
        yield await asyncio.to_thread(writer.begin, COLUMNS)
        cursor: str | None = None
        while True:
            found, cursor = await self._history.page(caller, which, ROWS, cursor)
            if found and (part := await asyncio.to_thread(writer.add, [_cells(entry) for entry in found])):
                yield part
            written.rows += len(found)
            context.progress(written.rows, None, "requests", _place_of(found))
            if cursor is None:
                break
        if part := await asyncio.to_thread(writer.end):
            yield part


def _place_of(found: list[Entry]) -> str:
    return f"back to {utc(found[-1].started_at):%Y-%m-%d %H:%M}" if found else ""


class _Written:
    """How many rows there are so far."""

    rows = 0


def _cells(entry: Entry) -> list[Cell]:
    usage, details = entry.usage, entry.details
    return [
        entry.id,
        utc(entry.started_at),
        entry.duration_ms,
        entry.key_id,
        entry.user_id or None,
        entry.end_user or None,
        details.path or None,
        entry.task,
        entry.model,
        entry.provider or None,
        entry.deployment or None,
        int(entry.stream),
        entry.status,
        entry.http_status,
        entry.error or None,
        entry.tags or None,
        entry.cached or None,
        usage.input_total,
        usage.cache_read,
        usage.output,
        Decimal(entry.cost).scaleb(-6),
        Decimal(entry.price).scaleb(-6),
        len(details.tried),
    ]
