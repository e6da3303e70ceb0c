"""What a kind of job is, and what it is given to run with."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from polyforge.jobs.records import Job, Level

T = TypeVar("T")
MAX_STEP_BYTES = 1024 * 1024


class JobKind(Protocol):
    """What runs jobs of one kind. Its code between steps runs again after each take-over, so it does nothing there."""

    @property
    def name(self) -> str:
        """As in `NewJob.kind`."""
        ...

    async def run(self, context: "JobContext") -> Any:
        """Do it; what it returns is the result, JSON of up to 64 kB.

        A PolyforgeError is the job's error as it is; anything else is `internal_error`, told in full only in the log.
        """
        ...


class JobContext(Protocol):
    """One attempt at a job."""

    @property
    def job(self) -> Job:
        """The job as it was when the attempt began here."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether somebody wants it to end."""
        ...

    @property
    def released(self) -> bool:
        """Whether it is broken off only to go on later or elsewhere: nothing about it has changed."""
        ...

    def occupied(self, change: int) -> None:
        """So many more things go on outside of steps and waits, or fewer, for a kind that does several at once.

        A job with waits and nothing else is let go after a while: it is broken off, and begun again once a wait is
        over. What else it is about to do then has to be said, or nobody does it until then.
        """
        ...

    async def step(
        self,
        name: str,
        work: Callable[[], Awaitable[T]],
        *,
        retries: int = 0,
        backoff: float = 1.0,
        timeout_seconds: float | None = None,
    ) -> T:
        """The result of `work`, which is done once: a repeated run is given what was kept under this name.

        `name` is unique within the job, and the same each time that the job runs; steps may run at the same time and
        in any order. The result is JSON of up to 1 MB (Invalid otherwise: put it into the object store and return its
        name), and what is given back is always what the JSON says, so a repeat gets nothing else. A failure is not
        kept: it is tried `retries` times more, after `backoff`, twice `backoff`... seconds (with jitter), unless it is
        a PolyforgeError that is not `retryable`. `timeout_seconds` is for each try.
        """
        ...

    def idempotency_key(self, step: str) -> str:
        """A key for what a step does outside; the same whenever that step of this job is repeated."""
        ...

    async def sleep(self, name: str, seconds: float) -> None:
        """Wait; of a repeated run only for what is left.

        The job is `waiting`, holds no place in its queue, and after a while no worker holds it.
        """
        ...

    async def wait_for(
        self, name: str, topic: str, *, code: str, message: str, timeout_seconds: float | None = None
    ) -> Mapping[str, Any] | None:
        """The next message to this job on a topic (`JobService.tell`), None after `timeout_seconds`.

        Durable as a step of this name. The job is `waiting` for `code` and `message`, holds no place in its queue, and
        after a while no worker holds it: then it is begun again by the message, or when the time is over.
        """
        ...

    def progress(self, done: float, total: float | None = None, unit: str = "", note: str = "") -> None:
        """Say how far it is; written at most twice a second, and never waited for."""
        ...

    def log(self, level: Level, text: str) -> None:
        """Add a line to the job's log; written soon, and never waited for."""
        ...
