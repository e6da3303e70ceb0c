"""What a worker needs of the journal of steps; `engine` is the real one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec


class Fenced(Exception):
    """This run was taken over: nothing more is kept of it, and it has to end."""


class Kept(msgspec.Struct, frozen=True):
    """Where the result of a completed step lies."""

    run_id: str
    place: int
    """Among the steps of the run, from 0."""


class StepJournal(Protocol):
    """Keeps the results of steps, each under its name and the id of the run that completed it."""

    @property
    def executor_id(self) -> str:
        """Unique for each start of a process."""
        ...

    async def open(self) -> None:
        """Connect. Unavailable when the journal cannot be reached."""
        ...

    async def close(self) -> None:
        """Stop at once."""
        ...

    async def run(self, run_id: str, body: Callable[[], Awaitable[None]]) -> None:
        """Run `body`, which may take steps, under an id that no run had before; returns when it has ended."""
        ...

    async def step(self, name: str, work: Callable[[], Awaitable[bytes]]) -> bytes:
        """Do `work` and keep what it gives, within `run`; what it raises is raised, and nothing kept.

        Fenced when the run was taken over, before `work` began or while it went on.
        """
        ...

    async def fence(self, run_ids: Sequence[str]) -> None:
        """From now on nothing more is kept of these runs, whoever still runs them."""
        ...

    async def kept(self, run_ids: Sequence[str]) -> dict[str, Kept]:
        """The completed steps of these runs by name."""
        ...

    async def value(self, kept: Kept) -> bytes:
        """What a step gave."""
        ...

    async def forget(self, run_ids: Sequence[str]) -> None:
        """Let go of what was kept of these runs."""
        ...
