"""Tells of thresholds that were crossed and of limits that were reached, off the path of the calls that did it."""

import asyncio
from collections import deque
from typing import Final

from polyforge.database.database import Database
from polyforge.database.events.log import append_event
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.money import to_usd
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.limits.counters import Notice

THRESHOLD: Final = "limit.threshold"
REACHED: Final = "limit.reached"
_MOST_WAITING: Final = 1_000
_RETRY_SECONDS: Final = 2.0
_BATCH: Final = 100
_log = get_logger(__name__)


class LimitNotices:
    """Writes notices into the events. While the database is down the latest thousand wait; older ones are lost."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[Notice] = deque(maxlen=_MOST_WAITING)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def tell(self, notice: Notice) -> None:
        """Take a notice; it is written down soon."""
        self._waiting.append(notice)
        self._wake.set()

    async def open(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="limit notices")

    async def close(self) -> None:
        """Write what still waits, once, and stop."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._try_flush()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self._try_flush():
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()

    async def _try_flush(self) -> bool:
        try:
            await self.flush()
        except PolyforgeError as error:
            _log.warning("thresholds of limits cannot be told of yet", reason=error.message)
            return False
        except Exception as error:  # noqa: BLE001  # whatever it was, without this task nobody would be told again
            _log.warning("thresholds of limits cannot be told of yet", reason=repr(error))
            return False
        return True

    async def flush(self) -> None:
        """Write what waits."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            try:
                await self._write(batch)
            except BaseException:
                room = _MOST_WAITING - len(self._waiting)
                self._waiting.extendleft(reversed(batch[max(0, len(batch) - room) :]))
                raise

    async def _write(self, batch: list[Notice]) -> None:
        async with self._database.write() as session:
            for notice in batch:
                limit = notice.limit
                await append_event(
                    session,
                    "budgets",
                    REACHED if notice.share is None else THRESHOLD,
                    limit.id,
                    at=notice.at,
                    organization_id=limit.organization_id,
                    project_id=limit.project_id,
                    data=_told(notice),
                )


def _told(notice: Notice) -> dict[str, object]:
    limit = notice.limit
    money = limit.measure == "money"
    return {
        "resource": "limit",
        "name": limit.name,
        "subject": limit.subject,
        "subject_id": notice.subject_id,
        "measure": limit.measure,
        "window": limit.window,
        "threshold": notice.share,
        "used": to_usd(notice.used) if money else notice.used,
        "amount": to_usd(notice.amount) if money else notice.amount,
    }
