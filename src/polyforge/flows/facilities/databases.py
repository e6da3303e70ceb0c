"""Databases that the operator declared, for nodes that read from them."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from polyforge.flows.document import Json
from polyforge.flows.facilities import postgres_reading, sqlite_reading
from polyforge.flows.facilities.cells import ReadLimits
from polyforge.flows.facilities.settings import ConnectionSettings, check_address, sqlite_path
from polyforge.flows.facilities.statements import check_statement
from polyforge.flows.running.contract import SqlTable
from polyforge.flows.running.turns import in_turn
from polyforge.kernel.errors import NotConfigured, NotFound
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.following import FollowedSecrets
from polyforge.tenancy.callers import Caller

_PARAM: Final = "connection"
_MOST_THREADS: Final = 8
"""Queries of SQLite files at a time, in each worker."""


class Databases:
    """Connections by name. Each query has one of its own, which cannot write."""

    def __init__(self, connections: Mapping[str, ConnectionSettings]) -> None:
        self._connections = dict(connections)
        self._secrets = FollowedSecrets(*(each.url for each in connections.values()))
        # Of its own: queries that take long must not take the threads that others count on.
        self._threads = ThreadPoolExecutor(_MOST_THREADS, "sqlite")
        self._slots = {name: asyncio.Semaphore(each.at_once) for name, each in connections.items()}

    def open(self, secrets: SecretSource) -> None:
        """Follow the addresses that are secrets; databases are reached when they are asked."""
        self._secrets.open(secrets)

    def close(self) -> None:
        """Follow them no more, and take no more queries."""
        self._secrets.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def query(
        self, caller: Caller, connection: str, sql: str, values: Mapping[str, Json], *, rows: int, seconds: float
    ) -> SqlTable:
        """What one SELECT finds.

        NotFound for a connection that is not there, or not for the caller's project; Invalid for a query that the
        database does not take, TimedOut, Unavailable where the database cannot be reached.
        """
        settings = self._connections.get(connection)
        if settings is None or not _serves(settings, caller):
            raise NotFound(f"there is no connection {connection!r}; the operator declares them", param=_PARAM)
        check_statement(sql)
        limits = ReadLimits(min(rows, settings.max_rows), settings.max_bytes, min(seconds, settings.seconds))
        address = self._address(connection, settings)
        async with in_turn(self._slots[connection]):
            return await self._read(address, sql, values, limits)

    async def _read(self, address: str, sql: str, values: Mapping[str, Any], limits: ReadLimits) -> SqlTable:
        path = sqlite_path(address)
        if path is not None:
            return await sqlite_reading.read(self._threads, path, sql, values, limits)
        return await postgres_reading.read(address, sql, values, limits)

    def _address(self, name: str, settings: ConnectionSettings) -> str:
        try:
            return check_address(self._secrets.reveal(settings.url))
        except ValueError as error:
            raise NotConfigured(f"flows.connections.{name}.url: {error}") from error


def _serves(settings: ConnectionSettings, caller: Caller) -> bool:
    return settings.projects is None or caller.project_id in settings.projects
