"""Sums as tables in a file, as it is sent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final

from msgspec.structs import astuple

from polyforge.ports.table_writer import Cell, Column, Kind, TableWriter
from polyforge.tenancy.ledger_rows import HOUR_SECONDS
from polyforge.tenancy.usage.questions import GroupBy, Question
from polyforge.tenancy.usage.sums import Label, UsageRow, Used

FORMATS: Final = ("csv", "parquet")
MakeWriter = Callable[[str], Awaitable[TableWriter]]
"""Of one of the FORMATS; Invalid for another one, or where a library for it is missing."""

_KINDS: Final[dict[GroupBy, Kind]] = {"hour": "time", "day": "date"}
_MONEY: Final = "_micros"
_EPOCH: Final = date(1970, 1, 1)


def columns_of(question: Question) -> list[Column]:
    """Groups, then measures. The group `tag` is a column `tags`."""
    groups = [Column("tags" if name == "tag" else name, _KINDS.get(name, "text")) for name in question.groups]
    return groups + [_measure(name) for name in Used.__struct_fields__]


async def file_of(
    writer: TableWriter, question: Question, pages: AsyncIterator[list[UsageRow]]
) -> AsyncIterator[bytes]:
    """The file, part by part."""
    yield await asyncio.to_thread(writer.begin, columns_of(question))
    async for rows in pages:
        cells = [_cells(question, row) for row in rows]
        if part := await asyncio.to_thread(writer.add, cells):
            yield part
    if part := await asyncio.to_thread(writer.end):
        yield part


def _measure(name: str) -> Column:
    if name.endswith(_MONEY):
        return Column(name.removesuffix(_MONEY) + "_usd", "money")
    return Column(name, "integer")


def _cells(question: Question, row: UsageRow) -> list[Cell]:
    groups = [_cell(name, label) for name, label in zip(question.groups, row.labels, strict=True)]
    return groups + [
        Decimal(value).scaleb(-6) if name.endswith(_MONEY) else value
        for name, value in zip(Used.__struct_fields__, astuple(row.used), strict=True)
    ]


def _cell(name: GroupBy, label: Label) -> Cell:
    if name == "hour":
        return datetime.fromtimestamp(int(label) * HOUR_SECONDS, UTC)
    return _EPOCH + timedelta(days=int(label)) if name == "day" else str(label)
