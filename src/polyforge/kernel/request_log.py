"""What the log of requests says of one of them: facts and numbers, never what was asked or answered."""

import time

import msgspec

from polyforge.kernel.money import Micros
from polyforge.kernel.usage import Usage


class LoggedHop(msgspec.Struct, frozen=True, gc=False):
    """One of the hops that a request went through."""

    name: str
    microseconds: int


class LoggedAttempt(msgspec.Struct, frozen=True, gc=False):
    """One deployment that was tried."""

    provider: str
    deployment: str
    after_ms: float
    """From the start of the request."""
    duration_ms: float | None
    """None: it was not over when the request was settled."""
    outcome: str
    """`ok`, or the code of the error."""


class LoggedRequest(msgspec.Struct, frozen=True, gc=False):
    """One call."""

    id: str
    """The request id, a ULID."""
    key_id: str
    organization_id: str
    project_id: str
    task: str
    model: str
    """What the caller asked for."""
    provider: str
    deployment: str
    """The provider's own name of the model; empty, as is the provider, where no attempt was answered."""
    status: str
    """`ok`, `error`, `cancelled`, `interrupted`, or `refused` where no call was made."""
    http_status: int
    started_at: float
    """Seconds since the epoch."""
    duration_ms: int
    stream: bool
    usage: Usage
    cost: Micros
    price: Micros
    saved: Micros = 0
    """What it would have cost, had its answer not been kept."""
    cached: str = ""
    """`exact`, `semantic` or `idempotent` where an earlier answer was given again."""
    error: str = ""
    """The code of the error that the caller got."""
    user_id: str = ""
    """Who called, or made the key; never whom the caller asked for: what was sent on cannot be forgotten any more."""
    tags: tuple[str, ...] = ()
    path: str = ""
    first_token_ms: float | None = None
    upstream_ms: float = 0.0
    """The part of its time that upstreams took."""
    hops: tuple[LoggedHop, ...] = ()
    """All but the last, which is not over when a request is written down; none once the details' time was up."""
    attempts: tuple[LoggedAttempt, ...] = ()
    trace_id: str = ""
    """In hexadecimal."""

    @property
    def ended_at(self) -> float:
        """Seconds since the epoch."""
        return self.started_at + self.duration_ms / 1000

    @property
    def failed(self) -> bool:
        """Whether the caller did not get an answer that is of use."""
        return self.status != "ok"


class RequestBatch(msgspec.Struct, frozen=True):
    """Requests that are handed over together. When it is repeated it has the same `first`, and may be longer."""

    first: int
    """Rises from batch to batch."""
    requests: list[LoggedRequest]


def iso_time(seconds: float) -> str:
    """A moment in UTC, to the millisecond, as `2026-01-31T12:00:00.000Z`."""
    milliseconds = round(seconds * 1000)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{moment}.{milliseconds % 1000:03d}Z"


def line_of(request: LoggedRequest) -> bytes:
    """A line of JSON without its line break; money in micro-USD."""
    fields = msgspec.structs.asdict(request)
    usage = msgspec.structs.asdict(fields.pop("usage"))
    money = {f"{name}_micros": fields.pop(name) for name in ("cost", "price", "saved")}
    times = {"time": iso_time(request.started_at), **fields}
    return msgspec.json.encode({**times, **money, "usage": usage})
