"""All SQL of batches, of one project each."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import RowMapping

from polyforge.batch.batches.records import UNFINISHED, Batch
from polyforge.batch.batches.tables import batches
from polyforge.batch.tables.records import Exchange
from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import Query, ReadSession, WriteSession
from polyforge.dialects.openai_batches import BatchProblem, BatchUsage, Counts, Status

_columns: Final = batches.c
_usage: Final = msgspec.json.Decoder(BatchUsage).decode
_problems: Final = msgspec.json.Decoder(list[BatchProblem]).decode
_labels: Final = msgspec.json.Decoder(dict[str, str]).decode
_exchange: Final = msgspec.json.Decoder(Exchange).decode
_encode: Final = msgspec.json.Encoder().encode


class BatchStore:
    """The batches of one project."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._rows = ScopedReader(session, scope, batches)

    async def find(self, ulid: str) -> Batch | None:
        """One of them."""
        row = await self._rows.first(refine=lambda query: query.where(_columns.id == ulid))
        return None if row is None else _batch_of(row)

    async def page(self, limit: int, after: str | None, *, of_files: bool) -> list[Batch]:
        """So many of them, or only of those that read files, the newest first."""

        def refine(query: Query) -> Query:
            query = query if after is None else query.where(_columns.id < after)
            query = query.where(_columns.exchange.is_(None)) if of_files else query
            return query.order_by(_columns.id.desc()).limit(limit)

        return [_batch_of(row) for row in await self._rows.all(refine=refine)]

    async def reaches(self, most: int) -> bool:
        """Whether so many wait or run."""
        rows = await self._rows.all(
            _columns.id, refine=lambda query: query.where(_columns.status.in_(UNFINISHED)).limit(most)
        )
        return len(rows) >= most


class BatchEditor(BatchStore):
    """The same batches, to be added and changed."""

    def __init__(self, session: WriteSession, scope: Scope) -> None:
        super().__init__(session, scope)
        self._editor = ScopedWriter(session, scope, batches)

    async def add(self, values: Mapping[str, Any]) -> None:
        """Have one."""
        await self._editor.insert(encoded(values))

    async def change(self, ulid: str, values: Mapping[str, Any]) -> bool:
        """Set columns of one; whether it is there."""
        return await self._editor.update(_columns.id == ulid, encoded(values)) == 1

    async def advance(self, ulid: str, status: Status, values: Mapping[str, Any]) -> bool:
        """Set columns, and the status unless it is `cancelling`, or the batch finished; whether it was neither."""
        await self._editor.update(_columns.id == ulid, encoded(values))
        moving = (_columns.id == ulid) & _columns.status.in_(("validating", "in_progress", "finalizing"))
        return await self._editor.update(moving, {"status": status}) == 1


def encoded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they are kept: what is no plain value is JSON."""
    row: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Counts):
            row |= msgspec.structs.asdict(value)
        elif isinstance(value, BatchUsage | Exchange | list | dict):
            row[name] = _encode(value).decode()
        else:
            row[name] = value
    return row


def _batch_of(row: RowMapping) -> Batch:
    values: dict[str, Any] = {name: row[name] for name in Batch.__struct_fields__ if name in row}
    values["counts"] = Counts(row["total"], row["completed"], row["failed"])
    values["usage"] = _usage(row["usage"])
    values["problems"] = _problems(row["problems"])
    values["labels"] = _labels(row["labels"])
    values["exchange"] = None if row["exchange"] is None else _exchange(row["exchange"])
    return Batch(**values)
