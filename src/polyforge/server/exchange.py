"""One request and its answer, as far as they are worth writing down."""

from typing import Any, Protocol

import msgspec

from polyforge.gateway.job import Job
from polyforge.kernel.tasks import InferenceRequest
from polyforge.server.http import HeaderMap
from polyforge.telemetry.hops import Hops
from polyforge.tenancy.callers import Caller


class Keeping(Protocol):
    """Keeps an answer on its way out."""

    async def __call__(self, message: Any) -> None:
        """Send one message of ASGI on."""
        ...

    async def leave(self) -> None:
        """The request is over."""
        ...


class Gathering(Protocol):
    """Remembers an answer on its way out."""

    def leave(self) -> None:
        """The request is over."""
        ...


class Exchange(msgspec.Struct, gc=False):
    """Filled in on the way; what is missing at the end was never reached."""

    id: str
    method: str
    path: str
    hops: Hops
    headers: HeaderMap = {}
    """Of the request, once they were read."""
    caller: Caller | None = None
    asked: InferenceRequest | None = None
    """What was asked for, once the body was read."""
    job: Job | None = None
    once: bytes | None = None
    """The key under which the caller may send the request again without having it done twice."""
    keeping: Keeping | None = None
    """What keeps the answer under that key."""
    gathering: Gathering | None = None
    """What remembers the words, where they are kept."""
    status: int = 0
    error: str | None = None


class Observer(Protocol):
    """Told about every request when its answer is out."""

    def begun(self) -> None:
        """A request came in."""
        ...

    def finished(self, exchange: Exchange) -> None:
        """It is over, whatever way; must not block."""
        ...

    def managed(self, request_id: str, method: str, path: str, status: int, duration_ns: int) -> None:
        """A request that was not for inference is over."""
        ...
