"""A journal of steps in memory, which the workers of one test share."""

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar

from polyforge.jobs.journal import Fenced, Kept
from polyforge.kernel.ids import new_ulid

_run_id: ContextVar[str] = ContextVar("the run that goes on")


class Shelf:
    """What journals keep, and what they keep no longer."""

    def __init__(self) -> None:
        self.runs: dict[str, list[tuple[str, bytes]]] = {}
        self.fenced: set[str] = set()


class MemoryJournal:
    """One worker's view of a shelf."""

    def __init__(self, shelf: Shelf | None = None) -> None:
        self.shelf = shelf or Shelf()
        self.executor_id = new_ulid()

    async def open(self) -> None:
        """Nothing has to be opened."""

    async def close(self) -> None:
        """Nor closed."""

    async def run(self, run_id: str, body: Callable[[], Awaitable[None]]) -> None:
        """Run `body`."""
        assert run_id not in self.shelf.runs, "no id runs twice"
        self.shelf.runs[run_id] = []
        token = _run_id.set(run_id)
        try:
            await body()
        finally:
            _run_id.reset(token)

    async def step(self, name: str, work: Callable[[], Awaitable[bytes]]) -> bytes:
        """Do `work` and keep what it gives."""
        run_id = _run_id.get()
        self._check(run_id)
        result = await work()
        self._check(run_id)
        self.shelf.runs[run_id].append((name, result))
        return result

    async def fence(self, run_ids: Sequence[str]) -> None:
        """From now on nothing more is kept of these runs."""
        self.shelf.fenced.update(run_ids)

    async def kept(self, run_ids: Sequence[str]) -> dict[str, Kept]:
        """The completed steps of these runs."""
        return {
            name: Kept(run_id, place)
            for run_id in run_ids
            for place, (name, _) in enumerate(self.shelf.runs.get(run_id, []))
        }

    async def value(self, kept: Kept) -> bytes:
        """What a step gave."""
        return self.shelf.runs[kept.run_id][kept.place][1]

    async def forget(self, run_ids: Sequence[str]) -> None:
        """Let go of what was kept."""
        for run_id in run_ids:
            self.shelf.runs.pop(run_id, None)

    def _check(self, run_id: str) -> None:
        if run_id in self.shelf.fenced:
            raise Fenced(run_id)
