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
_LEAST_SENT: Final = 16 << 20
"""Bytes that any query may be sent: what one takes on its way may be more than it has as JSON."""
_JSON: Final = frozenset({"json", "jsonb"})
_decode: Final = msgspec.json.Decoder().decode


class _Bounded(asyncio.Protocol):
    """Hands on what a server sends, up to so many bytes; the connection is cut then, before they are held in memory.

    The driver only gives whole rows, and a single one of PostgreSQL may have a gigabyte.
    """

    def __init__(self, inner: asyncio.Protocol, transport: asyncio.Transport) -> None:
        self._inner = inner
        self._transport = transport
        self.most = _LEAST_SENT
        self._came = 0

    @property
    def is_over(self) -> bool:
        """Whether more came."""
        return self._came > self.most

    def data_received(self, data: bytes) -> None:
        """Hand it on."""
        self._came += len(data)
        if self.is_over:
            self._transport.abort()
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Hand it on."""
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand it on."""
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Hand it on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Hand it on."""
        self._inner.resume_writing()


class _Connection(_driver.Connection):
    """One that is cut when it is sent too much."""

    def __init__(self, protocol: Any, transport: Any, *others: Any) -> None:
        super().__init__(protocol, transport, *others)  # pyright: ignore[reportUnknownMemberType]
        self.bound: Final = _Bounded(protocol, transport)
        transport.set_protocol(self.bound)


async def read(address: str, sql: str, values: Mapping[str, Json], limits: ReadLimits) -> SqlTable:
    """What a query finds; errors say what the database says."""
    statement, names = numbered(sql, values)
    bound = [bindable(values[name]) for name in names]
    try:
        async with asyncio.timeout(_CONNECT_SECONDS + limits.seconds + _GRACE_SECONDS):
            connection = await _connect(address, limits)
            try:
                return await _gathered(connection, statement, bound, limits)
            except (_driver.InterfaceError, _driver.PostgresError) as error:
                raise (_too_much(connection.bound.most) if connection.bound.is_over else error) from error
            finally:
                await _hang_up(connection)
    except (TimeoutError, _driver.QueryCanceledError) as error:
        raise TimedOut(f"the query took longer than {limits.seconds:g} seconds and was stopped") from error
    except (_driver.InterfaceError, _driver.PostgresError) as error:
        raise _told(error) from error


def _too_much(most: int) -> Invalid:
    return Invalid(f"the database sends more than {most} bytes for the query; ask for less", param="query")


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
        connection = await _driver.connect(
            address, timeout=_CONNECT_SECONDS, server_settings=settings, connection_class=_Connection
        )
    except (OSError, ValueError, _driver.PostgresError, _driver.InterfaceError) as error:
        raise Unavailable(f"the database cannot be reached: {type(error).__name__}", retry_after=1.0) from error
    connection.bound.most = _LEAST_SENT + 2 * limits.max_bytes
    return connection


async def _gathered(connection: Any, sql: str, values: Sequence[Any], limits: ReadLimits) -> SqlTable:
    async with connection.transaction(readonly=True):
        # Only a single statement can be prepared.
        statement = await connection.prepare(sql, timeout=limits.seconds)
        columns = statement.get_attributes()
        in_json = [place for place, column in enumerate(columns) if column.type.name in _JSON]
        found = Gathering([column.name for column in columns], limits)
        prefetch = min(_PREFETCH, limits.rows + 1)
        async for record in statement.cursor(*values, prefetch=prefetch, timeout=limits.seconds):
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
