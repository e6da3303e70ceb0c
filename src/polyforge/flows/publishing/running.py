"""What publishing needs of runs."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Protocol

from polyforge.flows.document import Json
from polyforge.flows.keeping.records import FlowVersion
from polyforge.flows.running.records import FlowRun, RunEvent, Trigger
from polyforge.kernel.money import Micros
from polyforge.tenancy.callers import Caller


class Runs(Protocol):
    """Begins runs and tells of them."""

    async def start(
        self,
        caller: Caller,
        version: FlowVersion,
        inputs: Mapping[str, Json],
        *,
        trigger: Trigger = ...,
        idempotency_key: str | None = None,
        max_cost: Micros | None = None,
        reference: str | None = None,
    ) -> FlowRun:
        """A run of a stored version; Invalid for inputs that do not fit it."""
        ...

    async def begun_before(
        self,
        caller: Caller,
        reference: str,
        inputs: Mapping[str, Json],
        *,
        idempotency_key: str | None,
        max_cost: Micros | None = None,
    ) -> FlowRun | None:
        """The run that a key began before, whatever the reference means by now."""
        ...

    async def get(self, caller: Caller, run_id: str) -> FlowRun:
        """A run as it is now."""
        ...

    async def wait(self, caller: Caller, run_id: str, seconds: float) -> FlowRun:
        """A run once it is over, or as it is after so long."""
        ...

    async def cancel(self, caller: Caller, run_id: str) -> FlowRun:
        """End a run."""
        ...

    def events(self, caller: Caller, run_id: str, after: int) -> AsyncIterator[RunEvent]:
        """What happens in it, until it is over."""
        ...

    async def outputs(self, caller: Caller, run: FlowRun) -> Mapping[str, Json] | None:
        """What came of it, wherever that is kept."""
        ...


class Stream(Protocol):
    """What happens in one run, as somebody reads it."""

    @property
    def ended(self) -> bool:
        """Whether it was ended before the run was over: the process drains, or its reader may not go on."""
        ...

    def frames(self) -> AsyncGenerator[bytes]:
        """The stream as bytes."""
        ...


class Streams(Protocol):
    """Who gives callers such streams."""

    async def subscribe(self, caller: Caller, run_id: str, after: int) -> Stream:
        """A stream, to be released; Unavailable when there are too many."""
        ...

    def release(self, stream: Any) -> None:
        """Nobody reads it any more."""
        ...
