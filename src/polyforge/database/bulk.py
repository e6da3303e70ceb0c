"""Bulk work in SQLite: a whole transaction in one go.

The driver of the engine hands every statement to a thread and waits for its answer. Where nothing has to be waited for
between the statements of a transaction, handing them over costs more than what they do.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from polyforge.database.failures import translated

Answer = TypeVar("Answer")

_CACHED_STATEMENTS: Final = 32


class SqliteBulk:
    """Runs transactions in a thread and on a connection of its own, one after the other. Nothing opens before one."""

    def __init__(self, path: Path, patience: float, pragmas: tuple[str, ...]) -> None:
        self._path = path
        self._patience = patience
        self._pragmas = pragmas
        self._thread = ThreadPoolExecutor(1, "sqlite-bulk")
        self._connection: sqlite3.Connection | None = None

    async def write(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """What `work` returns, run in a transaction with the write lock; Unavailable when others hold that too long.

        When it is cancelled, the transaction goes on to its end all the same.
        """
        with translated():
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._write, work)

    async def close(self) -> None:
        """Close the connection, after what is under way."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _write(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        connection = self._connection = self._connection or self._opened()
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            return work(connection)

    def _opened(self) -> sqlite3.Connection:
        # Transactions begin where it says BEGIN, and nowhere else.
        connection = sqlite3.connect(
            self._path, timeout=self._patience, isolation_level=None, cached_statements=_CACHED_STATEMENTS
        )
        for pragma in self._pragmas:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
