"""All SQL of the export of request logs. It stands behind all tenants: a sink has the requests of all of them."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import RowMapping, delete, func, insert, or_, select, text, update

from polyforge.database.counting import generations, take_number
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.kernel.request_log import LoggedAttempt, LoggedHop, LoggedRequest
from polyforge.telemetry.hops import HOPS
from polyforge.tenancy.ledger.details import Details, Tried, decode_details
from polyforge.tenancy.ledger_reading import usage_of
from polyforge.tenancy.request_logs.tables import (
    request_log_batches,
    request_log_dead_letters,
    request_log_exports,
)
from polyforge.tenancy.tables import usage_records

COUNTER: Final = "request_logs"
MOST_LETTERS: Final = 10_000
"""Of each export; the ledger has every request in any case."""
_ENSURE = text(
    "INSERT INTO request_log_exports (name, sequence, failures, retry_at, held_until) "
    "VALUES (:name, 0, 0, 0, 0) ON CONFLICT (name) DO NOTHING"
)
_NEXT: Final = "UPDATE generations SET value = value + 1 WHERE name = ? RETURNING value"
_ADD: Final = "INSERT INTO request_log_batches (sequence, record_ids, created_at) VALUES (?, ?, ?)"
_exports = request_log_exports.c
_batches = request_log_batches.c
_records = usage_records.c
_letters = request_log_dead_letters.c


class LogExportState(msgspec.Struct, frozen=True):
    """How far an export is."""

    name: str
    sequence: int
    """The sink has every batch up to this one."""
    failures: int
    """Tries that failed since the last that did not."""
    retry_at: float
    error: str | None
    holder: str | None
    held_until: float

    def held_by_another(self, holder: str, now: float) -> bool:
        """Whether another process sends."""
        return self.holder not in (None, holder) and self.held_until > now


class WaitingBatch(msgspec.Struct, frozen=True):
    """Records that the ledger took in together."""

    sequence: int
    record_ids: list[str]
    created_at: float


class LogDeadLetter(msgspec.Struct, frozen=True):
    """A request that a sink refused for good."""

    id: str
    export: str
    request_id: str
    reason: str
    at: float
    wanted_at: float | None = None


class SystemLogStore:
    """Batches that wait, the state of the exports, and their dead letters."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def newest(self) -> int:
        """The number of the newest batch, 0 before the first."""
        query = select(generations.c.value).where(generations.c.name == COUNTER)
        return await self._session.scalar(query) or 0

    async def state(self, name: str) -> LogExportState | None:
        """One export; None when it never ran."""
        row = await self._session.first(select(request_log_exports).where(_exports.name == name))
        return None if row is None else LogExportState(**dict(row))

    async def waiting(self, after: int, limit: int) -> list[WaitingBatch]:
        """Up to `limit` batches after one, oldest first."""
        query = select(request_log_batches).where(_batches.sequence > after).order_by(_batches.sequence).limit(limit)
        return [_batch_of(row) for row in await self._session.all(query)]

    async def requests(self, record_ids: Sequence[str]) -> list[LoggedRequest]:
        """The records of these ids that are there, in the order of the ids."""
        query = select(usage_records).where(_records.id.in_(sorted(set(record_ids)))).order_by(_records.id)
        return [_request_of(row) for row in await self._session.all(query)]

    async def letter(self, letter_id: str) -> LogDeadLetter | None:
        """One dead letter."""
        row = await self._session.first(select(request_log_dead_letters).where(_letters.id == letter_id))
        return None if row is None else _letter_of(row)

    async def letters(self, export: str | None, limit: int, before: str | None) -> list[LogDeadLetter]:
        """Up to `limit` dead letters, of one export or of all, newest first, older than the id `before`."""
        query = select(request_log_dead_letters).order_by(_letters.id.desc()).limit(limit)
        if export is not None:
            query = query.where(_letters.export == export)
        if before is not None:
            query = query.where(_letters.id < before)
        return [_letter_of(row) for row in await self._session.all(query)]

    async def letter_count(self, export: str) -> int:
        """How many dead letters an export has."""
        query = select(func.count()).select_from(request_log_dead_letters).where(_letters.export == export)
        return await self._session.scalar(query) or 0

    async def wanted(self, export: str) -> LogDeadLetter | None:
        """The dead letter that somebody first wanted sent again."""
        query = select(request_log_dead_letters).where(_letters.export == export, _letters.wanted_at > 0)
        row = await self._session.first(query.order_by(_letters.wanted_at, _letters.id).limit(1))
        return None if row is None else _letter_of(row)


class SystemLogEditor(SystemLogStore):
    """The same, to be changed."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def add(self, record_ids: Sequence[str], now: float) -> None:
        """Records that the transaction adds to the ledger are to be exported."""
        sequence = await take_number(self._writer, COUNTER)
        values = {"sequence": sequence, "record_ids": " ".join(record_ids), "created_at": now}
        await self._writer.change(insert(request_log_batches).values(values))

    async def claim(self, name: str, holder: str, now: float, until: float) -> LogExportState | None:
        """Become, or stay, the one that sends; None when another process does."""
        if not await self._take(name, holder, now, until):
            await self._writer.change(_ENSURE.bindparams(name=name))
            if not await self._take(name, holder, now, until):
                return None
        return await self.state(name)

    async def _take(self, name: str, holder: str, now: float, until: float) -> bool:
        free = or_(_exports.holder.is_(None), _exports.holder == holder, _exports.held_until <= now)
        values = {"holder": holder, "held_until": until}
        return (
            await self._writer.change(update(request_log_exports).where(_exports.name == name, free).values(values)) > 0
        )

    async def change(self, state: LogExportState, holder: str, values: dict[str, Any]) -> bool:
        """Change an export that this process holds, and that is where it should be; False when that is not so."""
        mine = (_exports.name == state.name, _exports.holder == holder, _exports.sequence == state.sequence)
        return await self._writer.change(update(request_log_exports).where(*mine).values(values)) > 0

    async def release(self, holder: str) -> None:
        """Let other processes send."""
        values = {"holder": None, "held_until": 0.0}
        await self._writer.change(update(request_log_exports).where(_exports.holder == holder).values(values))

    async def prune(self, names: Sequence[str]) -> int:
        """Let go of batches that every one of these exports has; how many."""
        query = select(func.count().label("count"), func.min(_exports.sequence).label("least")).where(
            _exports.name.in_(names)
        )
        row = await self._session.first(query)
        if row is None or row["count"] < len(names):
            return 0
        return await self._writer.change(delete(request_log_batches).where(_batches.sequence <= row["least"]))

    async def bury(self, letters: Sequence[LogDeadLetter]) -> None:
        """Add dead letters."""
        for letter in letters:
            await self._writer.change(insert(request_log_dead_letters).values(msgspec.structs.asdict(letter)))

    async def want(self, letter: LogDeadLetter) -> None:
        """Have a dead letter sent again, from when it says."""
        values = {"wanted_at": letter.wanted_at}
        await self._writer.change(update(request_log_dead_letters).where(_letters.id == letter.id).values(values))

    async def refuse_again(self, letter_id: str, reason: str, now: float) -> None:
        """A dead letter that was sent again to no avail."""
        values = {"wanted_at": None, "reason": reason, "at": now}
        await self._writer.change(update(request_log_dead_letters).where(_letters.id == letter_id).values(values))

    async def remove(self, letter_id: str) -> None:
        """A dead letter that was delivered after all."""
        await self._writer.change(delete(request_log_dead_letters).where(_letters.id == letter_id))

    async def prune_letters(self, export: str) -> int:
        """Let go of the oldest dead letters of an export that has more than MOST_LETTERS; how many."""
        newest = select(_letters.id).where(_letters.export == export).order_by(_letters.id.desc())
        last = await self._session.scalar(newest.offset(MOST_LETTERS).limit(1))
        if last is None:
            return 0
        old = (_letters.export == export, _letters.id <= last)
        return await self._writer.change(delete(request_log_dead_letters).where(*old))


def add_batch(connection: sqlite3.Connection, record_ids: Sequence[str], now: float) -> None:
    """As `SystemLogEditor.add`, in a transaction of SQLite that runs in one go."""
    (sequence,) = connection.execute(_NEXT, (COUNTER,)).fetchone()
    connection.execute(_ADD, (sequence, " ".join(record_ids), now))


def _batch_of(row: RowMapping) -> WaitingBatch:
    return WaitingBatch(row["sequence"], row["record_ids"].split(), row["created_at"])


def _letter_of(row: RowMapping) -> LogDeadLetter:
    return LogDeadLetter(**dict(row))


def _request_of(row: RowMapping) -> LoggedRequest:
    details = decode_details(row["details"])
    # A request that ended early has fewer hops than there are.
    named = zip(HOPS, details.hops_us, strict=False)
    return LoggedRequest(
        id=row["id"],
        key_id=row["key_id"],
        organization_id=row["organization_id"],
        project_id=row["project_id"],
        task=row["task"],
        model=row["model"],
        provider=row["provider"],
        deployment=row["deployment"],
        status=row["status"],
        http_status=row["http_status"],
        started_at=row["started_at"],
        duration_ms=row["duration_ms"],
        stream=row["stream"],
        usage=usage_of(row),
        cost=row["cost_micros"],
        price=row["price_micros"],
        saved=row["saved_micros"],
        cached=row["cached"],
        error=row["error"],
        user_id=row["user_id"],
        tags=tuple(row["tags"].split(",")) if row["tags"] else (),
        path=details.path,
        first_token_ms=details.first_token_ms,
        upstream_ms=details.waited // 1000 / 1000,
        hops=tuple(LoggedHop(name, spent) for name, spent in named),
        attempts=tuple(_attempt_of(details, tried) for tried in details.tried),
        trace_id=details.trace_id.hex(),
    )


def _attempt_of(details: Details, tried: Tried) -> LoggedAttempt:
    provider, deployment, started, ended, outcome = tried
    after = details.milliseconds(started)
    took = round(details.milliseconds(ended) - after, 3) if ended else None
    return LoggedAttempt(provider, deployment, after, took, outcome)
