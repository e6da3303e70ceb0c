"""What runs a node: a function of one `NodeCall`, and what it may use.

A file in `flows/nodes` that has `async def run(call: NodeCall) -> Outputs` beside its NODE can run;
`flows.built_in.runners()` gives those functions by type and version. What a node does not get here it cannot do.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from polyforge.flows.document import Document, Json
from polyforge.flows.plan import Path
from polyforge.kernel.money import Micros
from polyforge.kernel.tasks import Task
from polyforge.tenancy.callers import Caller

Outputs = Mapping[str, Json]
"""The outputs that happened, by port; ports that are left out are skipped."""
Level = Literal["debug", "info", "warning", "error"]
Reference = Mapping[str, Json]
"""`{"$object": id, "media_type": ..., "bytes": ...}`: something that lies in the object store."""


class NodeCall(Protocol):
    """One try of one node in one round."""

    @property
    def run_id(self) -> str:
        """The run."""
        ...

    @property
    def flow_id(self) -> str:
        """The flow that is run; what a node keeps from run to run is kept under it."""
        ...

    @property
    def node(self) -> str:
        """The node's id."""
        ...

    @property
    def path(self) -> Path:
        """The rounds of the loops around it, the outermost first."""
        ...

    @property
    def params(self) -> Mapping[str, Json]:
        """Its parameters, as they stand in the flow; they fit the schema of its type."""
        ...

    @property
    def inputs(self) -> Mapping[str, Json]:
        """By port, converted as the links say; inputs that were skipped are absent."""
        ...

    @property
    def caller(self) -> Caller:
        """Who the run acts for, as they stand now."""
        ...

    @property
    def idempotency_key(self) -> str:
        """The same whenever this step of this run is repeated, and no other step's."""
        ...

    @property
    def facilities(self) -> "Facilities":
        """What it may use."""
        ...

    def token(self, text: str) -> None:
        """Tell a piece of text as it is made; shown to whoever watches, kept only until the node's result is there."""
        ...

    def log(self, level: Level, text: str) -> None:
        """Add a line to the log of the run."""
        ...

    def cost(self, micros: Micros) -> None:
        """Say what was spent, in micro-USD, on top of what was said before; kept with the result."""
        ...


NodeRun = Callable[[NodeCall], Awaitable[Outputs]]
"""Raises a PolyforgeError where it fails; whether it is tried again, and what comes then, is the policy's."""
Runners = Mapping[tuple[str, int], NodeRun]
"""What runs the nodes of a type in a version."""


class ModelAnswer(msgspec.Struct, frozen=True):
    """What a model answered, in the dialect of the path that was called, and what that cost."""

    body: bytes
    price: Micros


class ModelCalls(Protocol):
    """Calls models of the gateway, through its limits, guardrails, routing and costs."""

    def task(self, caller: Caller, model: str) -> Task | None:
        """What a model does, None: whatever it is asked; ModelNotFound where there is none that the caller may use."""
        ...

    async def call(
        self,
        caller: Caller,
        url: str,
        body: bytes,
        *,
        key: bytes | None,
        tags: tuple[str, ...],
        on_text: Callable[[str], None] | None = None,
    ) -> ModelAnswer:
        """The whole answer to a body for a path such as `/v1/chat/completions`; `on_text` gets its text as it comes.

        With a key it is asked for once: whoever repeats it gets what came of it.
        """
        ...


class HttpAnswer(msgspec.Struct, frozen=True):
    """An answer of a server."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


class HttpCalls(Protocol):
    """Calls addresses that people wrote, only where the installation allows it."""

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        timeout_seconds: float,
        max_bytes: int,
    ) -> HttpAnswer:
        """The answer, whatever its status; Denied for an address that is not allowed, TooLarge for a longer one."""
        ...


class SecretReader(Protocol):
    """Reads secrets of the project."""

    async def get(self, caller: Caller, name: str) -> str:
        """The value of a secret; NotFound without it, Denied for who may not use it."""
        ...


class Objects(Protocol):
    """Keeps what is too large or too special for JSON."""

    async def put(self, caller: Caller, data: bytes, media_type: str) -> Reference:
        """Keep bytes of the caller's project under what follows from them; the same bytes are kept once."""
        ...

    async def get(self, caller: Caller, reference: Reference) -> bytes:
        """The bytes; NotFound where they are not, or not of the caller's project."""
        ...


class SandboxLimits(msgspec.Struct, frozen=True):
    """What code may use up."""

    memory_bytes: int
    seconds: float
    output_bytes: int


class Sandbox(Protocol):
    """Runs Python in a process of its own, without a network and without files."""

    async def run(self, code: str, inputs: Mapping[str, Json], limits: SandboxLimits) -> Json:
        """What the code left as `result`; NotConfigured where the settings do not allow code."""
        ...


class SqlTable(msgspec.Struct, frozen=True):
    """What a query found."""

    rows: Sequence[Mapping[str, Json]]
    truncated: bool
    """Whether there was more."""


class SqlQueries(Protocol):
    """Reads from databases, over connections that cannot write."""

    async def query(
        self, caller: Caller, connection: str, sql: str, values: Mapping[str, Json], *, rows: int, seconds: float
    ) -> SqlTable:
        """What one SELECT finds; `values` are bound as `:name`."""
        ...


class Notifications(Protocol):
    """Sends messages to people."""

    async def send(
        self,
        caller: Caller,
        channel: Literal["slack", "email", "webhook"],
        to: Sequence[str],
        subject: str,
        text: str,
        *,
        key: str,
    ) -> None:
        """Send one: `to` holds e-mail addresses, or the one address that is called. `key` tells repeats."""
        ...


class Verdict(msgspec.Struct, frozen=True):
    """What a guardrail says of a text."""

    passed: bool
    text: str
    """As it may go on: masked where the guardrail masks."""
    kinds: tuple[str, ...] = ()
    """What was found, by name; never the words."""


class Guardrails(Protocol):
    """The guardrails of the installation."""

    async def check(
        self, caller: Caller, names: Sequence[str], text: str, direction: Literal["input", "output"]
    ) -> Verdict:
        """What they say of a text; GuardrailFailed where they cannot judge."""
        ...


class Memory(Protocol):
    """Values that a flow keeps from run to run."""

    async def recall(self, caller: Caller, flow_id: str, key: str) -> tuple[Json] | None:
        """What is kept under a key, in a tuple; None where nothing is."""
        ...

    async def keep(self, caller: Caller, flow_id: str, key: str, value: Json, *, seconds: float) -> None:
        """Keep a value for so long."""
        ...


class Facilities(msgspec.Struct, frozen=True, kw_only=True):
    """What nodes may use."""

    models: ModelCalls
    http: HttpCalls
    secrets: SecretReader
    objects: Objects
    sandbox: Sandbox
    sql: SqlQueries
    notifier: Notifications
    guardrails: Guardrails
    memory: Memory


class FlowVersion(Protocol):
    """A stored version of a flow, as `FlowService.resolve` gives it."""

    @property
    def flow_id(self) -> str:
        """The flow's."""
        ...

    @property
    def flow_name(self) -> str:
        """What people call the flow."""
        ...

    @property
    def version(self) -> str:
        """Its id: the SHA-256 of its canonical form."""
        ...

    @property
    def document(self) -> Document:
        """The flow."""
        ...


class FlowVersions(Protocol):
    """Where stored versions are found."""

    async def resolve(self, caller: Caller, reference: str) -> FlowVersion:
        """The version that `FLOW`, `FLOW@ALIAS` or `FLOW@VERSION-ID` means now; NotFound otherwise."""
        ...
