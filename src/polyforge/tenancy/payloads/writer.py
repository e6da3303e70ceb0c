"""Writes payloads down beside the requests that they are of: none of these waits, and too many are not kept."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError
from polyforge.secrets.sealing import MasterKeys
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.payloads.records import Offered, hash_of, seal
from polyforge.tenancy.payloads.settings import PayloadSettings
from polyforge.tenancy.payloads.store import SystemPayloads

BATCH: Final = 50
GATHER_SECONDS: Final = 0.2
"""How long the first of some waits for others, which are written with it."""
REST_SECONDS: Final = 5.0
"""How long the database is left alone after it failed."""
CLOSE_SECONDS: Final = 5.0
_DAY_SECONDS: Final = 86_400
_ROW_BYTES: Final = 1_000
"""What one takes beside its words."""
_log = get_logger(__name__)


class PayloadWriter:
    """The payloads that one worker has still to write. `dropped` is told how many it does not keep."""

    def __init__(
        self,
        settings: PayloadSettings,
        database: Database,
        clock: Clock,
        master: MasterKeys,
        dropped: Callable[[int], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._master = master
        self._dropped = dropped
        self._waiting: deque[Offered] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def offer(self, payload: Offered) -> None:
        """Keep a payload, unless too much waits already."""
        size = payload.size + _ROW_BYTES
        if self._bytes + size > self._settings.max_waiting_bytes:
            self._dropped(1)
            return
        self._bytes += size
        self._waiting.append(payload)
        self._filled.set()

    async def run(self) -> None:
        """Write what comes, for as long as the process lives. A database that is down is tried again."""
        while True:
            await self._filled.wait()
            await asyncio.sleep(GATHER_SECONDS)
            try:
                await self.flush()
            except PolyforgeError as error:
                _log.warning("payloads wait to be written", count=len(self._waiting), reason=error.message)
                await asyncio.sleep(REST_SECONDS)

    async def flush(self) -> None:
        """Write all that waits; Unavailable where that does not work, and the rest goes on waiting."""
        while self._waiting:
            batch = list(islice(self._waiting, BATCH))
            rows = await asyncio.to_thread(self._rows, batch, self._clock.now())
            async with self._database.write() as session:
                await SystemPayloads(session).add(rows)
            for payload in batch:
                self._waiting.popleft()
                self._bytes -= payload.size + _ROW_BYTES
        self._filled.clear()

    async def close(self) -> None:
        """Write what still waits, in a short time; what cannot be written then is not kept."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.flush()
        except (PolyforgeError, TimeoutError) as error:
            _log.warning("payloads are lost", count=len(self._waiting), reason=str(error) or "it took too long")
            self._dropped(len(self._waiting))

    def _rows(self, batch: Sequence[Offered], now: float) -> list[dict[str, Any]]:
        return [self._row(payload, now) for payload in batch]

    def _row(self, payload: Offered, now: float) -> dict[str, Any]:
        return {
            "id": payload.id,
            "organization_id": payload.scope.organization_id,
            "project_id": payload.scope.project_id,
            "user_id": payload.user_id,
            "end_user_hash": hash_of(payload.end_user),
            "sealed": seal(self._master, payload.scope, payload.id, payload.make()),
            "created_at": now,
            "expires_at": now + self._settings.retention_days * _DAY_SECONDS,
        }
