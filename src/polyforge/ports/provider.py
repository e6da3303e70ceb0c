"""The port to whatever answers for a model: a hosted service, an OpenAI-compatible server, our own model host."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Protocol

import msgspec
from typing_extensions import AsyncGenerator, Buffer

from polyforge.kernel.chat import ChatRequest, ChatResult, Delta
from polyforge.kernel.hidden import Hidden
from polyforge.kernel.tasks import Dialect, EmbeddingResult, InferenceRequest, Task
from polyforge.kernel.usage import Usage
from polyforge.ports.secret_source import SecretSource

KEY_HEADER: Final = "x-polyforge-provider-key"
"""In which a caller brings a key of its own account at the provider."""


class Timeouts(msgspec.Struct, frozen=True, gc=False):
    """How long one attempt may take, in seconds: to connect, to the first content, between chunks, altogether."""

    connect: float = 5.0
    first_token: float = 60.0
    idle: float = 60.0
    total: float = 600.0


class Capabilities(msgspec.Struct, frozen=True):
    """What a provider can do, as data, so that nothing elsewhere asks for its name."""

    tasks: frozenset[Task]
    dialects: frozenset[Dialect]
    """Dialects whose bodies it takes as they are."""
    free: bool = False
    """Runs on our own machines: a missing cost means zero, not unknown."""
    parameters: frozenset[str] = frozenset()
    """Fields of the canonical chat request that it can carry; others are refused or dropped, by policy."""
    caller_keys: bool = False
    """Can be called with a key that the caller brought: `Call.key`."""
    seller: str | None = None
    """Whose published prices hold where no other address is set, as catalogues of prices call it."""


class Call(msgspec.Struct, gc=False):
    """One attempt at a request."""

    request: InferenceRequest
    request_id: str
    model: str
    """The provider's own name of the model."""
    output_limit: int | None
    """Set when the output must be bounded upstream although the caller did not ask for it."""
    timeouts: Timeouts
    started: float
    """When the attempt began, in loop time."""
    deadline: float
    """When it must be over, in loop time."""
    headers: Mapping[str, str]
    """More headers to send upstream, such as `traceparent`."""
    chat: ChatRequest | None = None
    """The request in canonical form, for a provider that does not take the caller's dialect."""
    key: Hidden | None = None
    """The caller's own key, to be sent instead of all that identifies our account; its refusal is `UpstreamRefused`."""


class Reply(msgspec.Struct, gc=False):
    """A whole answer: a `body` in the caller's dialect, or a canonical `result` for the dialect to encode."""

    usage: Usage | None
    body: Buffer | None = None
    result: EmbeddingResult | ChatResult | None = None
    finish: str | None = None
    media_type: bytes = b"application/json"
    """What the `body` is."""
    headers: Sequence[tuple[bytes, bytes]] = ()
    """What else the caller must know to read the `body`."""


class StreamEvent(msgspec.Struct, gc=False):
    """One event of a streamed answer: a `frame` as the caller will read it, or `deltas` for its dialect to write.

    An `end` event is the last one of a stream that finished as it should; a provider raises where a stream was cut.
    """

    frame: bytes
    """The event as server-sent bytes; empty when there is nothing to send."""
    content: bool = False
    """Carries something a reader would see, so failing over after it would repeat or lose text."""
    usage: Usage | None = None
    usage_only: bool = False
    """Carries usage, or nothing, beside no choice: withheld from a caller who did not ask for usage."""
    finish: str | None = None
    end: bool = False
    size: int = 0
    """Characters of generated text in it, from which tokens are estimated when a stream breaks off."""
    deltas: Sequence[Delta] = ()
    media_type: bytes = b""
    """What the frames are where they are no server-sent events; of the first event, and of an `end` without deltas."""


class Provider(Protocol):
    """One configured upstream. Constructing does no I/O; every failure is a `PolyforgeError`.

    A failure that another deployment might not have is `UpstreamFailed`, `RateLimited`, `TimedOut` or `Unavailable`;
    a request that the upstream refused as wrong is `Invalid` or another 4xx and is not tried elsewhere.
    Cancelling a call closes its connection.
    """

    capabilities: ClassVar[Capabilities]

    async def open(self, secrets: SecretSource) -> None:
        """Get ready to be called. Does not require the upstream to be up, nor `secrets` to be there already.

        What is called for while a secret is missing is `NotConfigured`; one that changes is used from the next call on.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...

    async def send(self, call: Call) -> Reply:
        """The whole answer."""
        ...

    def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The answer as it comes, as many events at a time as arrived together; closing the iterator hangs up."""
        ...

    async def models(self) -> list[str]:
        """The names of the models that it offers now."""
        ...
