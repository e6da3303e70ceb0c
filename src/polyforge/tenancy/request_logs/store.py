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
from polyforge.tenancy.request_logs.tables import request_log_batches, request_log_exports
from polyforge.tenancy.tables import usage_records

COUNTER: Final = "request_logs"
_ENSURE = text(
    "INSERT INTO request_log_exports (name, sequence, failures, retry_at, held_until) "
    "VALUES (:name, 0, 0, 0, 0) ON CONFLICT (name) DO NOTHING"
)
_NEXT: Final = "UPDATE generations SET value = value + 1 WHERE name = ? RETURNING value"
_ADD: Final = "INSERT INTO request_log_batches (sequence, record_ids, created_at) VALUES (?, ?, ?)"
_exports = request_log_exports.c
_batches = request_log_batches.c
_records = usage_records.c


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


class SystemLogStore:
    """Batches that wait, and the state of the exports."""

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


def add_batch(connection: sqlite3.Connection, record_ids: Sequence[str], now: float) -> None:
    """As `SystemLogEditor.add`, in a transaction of SQLite that runs in one go."""
    (sequence,) = connection.execute(_NEXT, (COUNTER,)).fetchone()
    connection.execute(_ADD, (sequence, " ".join(record_ids), now))


def _batch_of(row: RowMapping) -> WaitingBatch:
    return WaitingBatch(row["sequence"], row["record_ids"].split(), row["created_at"])


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
