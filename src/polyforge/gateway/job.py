"""One request on its way through the gateway: what is known of it so far."""

from collections.abc import Callable, Sequence

import msgspec

from polyforge.dialects.writing import StreamWriter
from polyforge.gateway.caching.lookup import Lookup
from polyforge.gateway.routing import Wish
from polyforge.guardrails.passing import Found
from polyforge.kernel.chat import ChatRequest, ChatResult, Fault
from polyforge.kernel.hidden import Hidden
from polyforge.kernel.money import Micros
from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import NO_USAGE, Usage
from polyforge.ports.tracing import Trace
from polyforge.registry.catalog import Deployment, Model
from polyforge.telemetry.hops import Hops
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.ledger.counters import Headroom
from polyforge.tenancy.ledger.records import Cached, Status
from polyforge.tenancy.limits.counters import Counter, Take
from polyforge.tenancy.limits.deposits import Deposit, Drawn
from polyforge.tenancy.limits.lanes import Lane

Examine = Callable[[bytes, ChatResult], Fault | None]
"""Says what is wrong with an answer to a body; None when it holds."""


class Attempt(msgspec.Struct, gc=False):
    """One deployment that was tried; times are on the clock of the hops, in nanoseconds."""

    deployment: Deployment
    started: int
    ended: int = 0
    outcome: str = "ok"
    """`ok`, or the code of the error."""
    broke_off: bool = False
    """What was computing the answer ended: it does not get this request again."""


class Rejected(msgspec.Struct, gc=False):
    """An answer that did not hold: it is paid for all the same."""

    deployment: Deployment
    usage: Usage


class Job(msgspec.Struct, gc=False):
    """Begun by the server, filled in hop by hop, read by whoever writes down what happened."""

    id: str
    """The request id, a ULID."""
    caller: Caller
    request: InferenceRequest
    model: Model
    hops: Hops
    started_at: float
    """Seconds since the epoch."""
    deadline: float
    """When everything must be over, in loop time."""
    read_chat: Callable[[bytes], ChatRequest] | None = None
    """Reads the body into canonical form, for providers that do not take the caller's dialect."""
    open_writer: "Callable[[Job], StreamWriter] | None" = None
    """Begins the caller's stream, where the provider's is not passed on as it is. Must not hold the job: a cycle
    through it would never be collected."""
    examine: Examine | None = None
    """Set where not every answer will do."""
    rejected: list[Rejected] = []
    """Answers that did not do."""
    writer: StreamWriter | None = None
    """The caller's stream, once it was begun."""
    chat: ChatRequest | None = None
    """The request in canonical form, once something had to read it."""
    canonical: bool = False
    """Whether the canonical form differs from the body, and must be what is sent."""
    judging: bool = False
    """Whether a guardrail asks: it passes none itself, and counts for no limits but those of money."""
    found: Sequence[Found] = ()
    """What guardrails found."""
    dropped: list[str] = []
    """Parameters that the provider has no place for, and that the policy let go."""
    trace: Trace | None = None
    """Set when the request is traced."""
    headers: dict[str, str] = {}
    """Headers to send upstream."""
    provider_key: Hidden | None = None
    """A key of the caller's own account at the provider."""
    wish: Wish | None = None
    """What the caller wants of the deployment that answers."""
    asked_route: str = ""
    """The same, as it said so."""
    path: str = ""
    """As it is declared."""
    tags: tuple[str, ...] = ()
    """What the caller labels the call with, sorted: `name` or `name=value`."""
    lookup: Lookup | None = None
    """What it wants of the cache; None where its model has none."""
    cached: Cached = ""
    """Set where the answer was made for an earlier request."""
    saved: Micros = 0
    """What such an answer cost when it was made."""
    slot: int = -1
    """The key's slot in the shared counters; -1 for a key without limits."""
    period: int = 0
    reserved: Micros = 0
    reserved_tokens: int = 0
    output_limit: int | None = None
    """Output tokens per choice to ask for upstream where the caller set no limit and a budget applies."""
    headroom: Headroom | None = None
    deposit: Deposit | None = None
    """What it draws on before it reserves for itself."""
    drawn: Drawn = ()
    """What it took out of that."""
    token_bound: int = 0
    """The most tokens that it can come to, where a limit asks for it."""
    takes: list[Take] = []
    """What it holds of limits beside its key's own."""
    lane: Lane | None = None
    """Set where it was let in by what its key and these limits lent in one step."""
    windows: tuple[int, ...] = ()
    """What it is counted in then."""
    ceilings: dict[str, tuple[Counter, ...]] = {}
    """Limits of providers that may answer, by their names."""
    attempt_takes: list[Take] = []
    """What the attempt under way holds of its provider's limits."""
    attempts: list[Attempt] = []
    first_token_ns: int = 0
    """On the clock of the hops; 0 until the first content of a stream."""
    media_type: bytes = b""
    """What a streamed answer is where it is no server-sent events."""
    streamed: int = 0
    """Characters of text sent on so far."""
    settled: bool = False
    status: Status = "ok"
    http_status: int = 200
    error: str | None = None
    """Code of the error that the caller got."""
    usage: Usage = NO_USAGE
    cost: Micros = 0
    price: Micros = 0
