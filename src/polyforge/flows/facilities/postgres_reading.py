"""Reads from PostgreSQL: one prepared statement in a transaction that cannot write."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
import msgspec

from polyforge.flows.document import Json
from polyforge.flows.facilities.cells import Gathering, ReadLimits, bindable
from polyforge.flows.facilities.statements import numbered
from polyforge.flows.running.contract import SqlTable
from polyforge.kernel.errors import Invalid, TimedOut, Unavailable

_driver: Final[Any] = asyncpg
"""It has no types."""
_CONNECT_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 2.0
_GRACE_SECONDS: Final = 2.0
_PREFETCH: Final = 200
_JSON: Final = frozenset({"json", "jsonb"})
_decode: Final = msgspec.json.Decoder().decode


async def read(address: str, sql: str, values: Mapping[str, Json], limits: ReadLimits) -> SqlTable:
    """What a query finds; errors say what the database says."""
    statement, names = numbered(sql, values)
    bound = [bindable(values[name]) for name in names]
    try:
        async with asyncio.timeout(_CONNECT_SECONDS + limits.seconds + _GRACE_SECONDS):
            connection = await _connect(address, limits)
            try:
                return await _gathered(connection, statement, bound, limits)
            finally:
                await _hang_up(connection)
    except (TimeoutError, _driver.QueryCanceledError) as error:
        raise TimedOut(f"the query took longer than {limits.seconds:g} seconds and was stopped") from error
    except (_driver.InterfaceError, _driver.PostgresError) as error:
        raise _told(error) from error


def _told(error: Exception) -> Invalid:
    said = str(error)[:500]
    if "query argument" in said:
        hint = "an input has another type than the query wants; say which it has, as in `:name::int`"
        return Invalid(f"{said}: {hint}", param="inputs")
    return Invalid(f"the database does not take the query: {said}", param="query")


async def _connect(address: str, limits: ReadLimits) -> Any:
    """A connection; Unavailable, which tells nothing of the address, where there is none."""
    settings = {
        "application_name": "polyforge-flows",
        "default_transaction_read_only": "on",
        "statement_timeout": str(int(limits.seconds * 1000)),
        "idle_in_transaction_session_timeout": str(int((limits.seconds + _GRACE_SECONDS) * 1000)),
    }
    try:
        return await _driver.connect(address, timeout=_CONNECT_SECONDS, server_settings=settings)
    except (OSError, ValueError, _driver.PostgresError, _driver.InterfaceError) as error:
        raise Unavailable(f"the database cannot be reached: {type(error).__name__}", retry_after=1.0) from error


async def _gathered(connection: Any, sql: str, values: Sequence[Any], limits: ReadLimits) -> SqlTable:
    async with connection.transaction(readonly=True):
        # Only a single statement can be prepared.
        statement = await connection.prepare(sql, timeout=limits.seconds)
        columns = statement.get_attributes()
        in_json = [place for place, column in enumerate(columns) if column.type.name in _JSON]
        found = Gathering([column.name for column in columns], limits)
        async for record in statement.cursor(*values, prefetch=_PREFETCH, timeout=limits.seconds):
            row: list[Any] = list(record.values())
            if not found.add(row if not in_json else _read_json(row, in_json)):
                break
    return found.table()


def _read_json(row: list[Any], places: Sequence[int]) -> list[Any]:
    for place in places:
        if isinstance(row[place], str):
            row[place] = _decode(row[place])
    return row


async def _hang_up(connection: Any) -> None:
    with suppress(_driver.PostgresError, _driver.InterfaceError, OSError, TimeoutError):
        await connection.close(timeout=_CLOSE_SECONDS)
