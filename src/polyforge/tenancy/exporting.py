"""What sends to one sink for as long as a process lives, be it audit events or requests: its rhythm and patience."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from polyforge.database.database import Database
from polyforge.database.sessions import WriteSession
from polyforge.kernel.errors import PolyforgeError
from polyforge.ports.secret_source import SecretSource
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.sink_failed import SinkFailed

IDLE_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 5.0
"""The longest that nobody looks what there is to do."""
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0
_DOUBLINGS: Final = 10
_LONGEST_ASKED: Final = 600.0
"""The longest that a sink is left alone because it asked for it."""
_log = get_logger(__name__)


class Sink(Protocol):
    """What is got ready and let go, whatever it is sent."""

    async def open(self, secrets: SecretSource) -> None:
        """Get ready."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...


_Sink = TypeVar("_Sink", bound=Sink)


class Exporting(ABC, Generic[_Sink]):
    """One sink's share of a process. `things` are what it is sent, in words."""

    def __init__(self, name: str, things: str, sink: _Sink) -> None:
        self.name = name
        self._things = things
        self._sink = sink
        self._failing = False

    async def open(self, secrets: SecretSource) -> None:
        """Get the sink ready; SettingsError when it cannot be used as it is set."""
        await self._sink.open(secrets)

    async def close(self) -> None:
        """Let go of the sink."""
        await self._sink.close()

    async def run(self) -> None:
        """Send for as long as this process lives; what the database or the sink does does not end it."""
        while True:
            try:
                wait = await self.step()
            except PolyforgeError as error:
                self._tell(error.message)
                wait = IDLE_SECONDS
            except Exception:  # noqa: BLE001 - whatever it was, no gateway ends because nothing is exported
                _log.exception(f"{self._things} cannot be exported", export=self.name)
                wait = LOOK_SECONDS
            await asyncio.sleep(wait)

    @abstractmethod
    async def step(self) -> float:
        """Send what is next, if anything; how many seconds there is nothing to do then."""

    def _tell(self, problem: str | None) -> None:
        """Log that nothing can be sent, and that it can be again, but not with every try."""
        if problem is not None and not self._failing:
            _log.warning(f"{self._things} cannot be exported", export=self.name, reason=problem)
        elif problem is None and self._failing:
            _log.info(f"{self._things} are exported again", export=self.name)
        self._failing = problem is not None


_One = TypeVar("_One", bound=Exporting[Any])


class AllExporting(ABC, Generic[_One]):
    """All that sends one kind of `things` in a process, whose name as a holder of exports is `holder`."""

    def __init__(self, things: str, exporters: Sequence[_One], database: Database, holder: str) -> None:
        self._things = things
        self._exporters = exporters
        self._database = database
        self._holder = holder

    async def open(self, secrets: SecretSource) -> None:
        """Get the sinks ready; SettingsError for one that cannot be used as it is set."""
        for exporter in self._exporters:
            await exporter.open(secrets)

    async def run(self) -> None:
        """Export until this is cancelled."""
        if not self._exporters:
            return
        async with asyncio.TaskGroup() as group:
            for work in self._beside():
                group.create_task(work)
            for exporter in self._exporters:
                group.create_task(exporter.run(), name=f"export of {self._things} to {exporter.name}")

    async def close(self) -> None:
        """Let other processes go on at once, and let go of the sinks."""
        if not self._exporters:
            return
        try:
            async with self._database.write() as session:
                await self._release(session)
        except PolyforgeError as error:
            _log.warning(f"exports of {self._things} are free only in a minute", reason=error.message)
        for exporter in self._exporters:
            await exporter.close()

    def _beside(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What else is done meanwhile."""
        return ()

    @abstractmethod
    async def _release(self, session: WriteSession) -> None:
        """Let other processes have what this one holds."""


def pause_after(failure: SinkFailed, failures: int) -> float:
    """How long to leave a sink alone that failed, after so many failures before: longer each time, or as it asked."""
    wait = min(_FIRST_WAIT * 2 ** min(failures, _DOUBLINGS), _LONGEST_WAIT)
    return max(wait, min(failure.retry_after, _LONGEST_ASKED))
