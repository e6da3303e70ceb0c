"""The Open Inference Protocol's paths; those that compute nothing are answered here."""

from typing import Final

from polyforge import __version__
from polyforge.dialects import oip
from polyforge.dialects.oip_paths import is_inference, read_model_path
from polyforge.gateway.hosted import HostedModels
from polyforge.gateway.lineup import Lineups
from polyforge.gateway.operating import HostOperations
from polyforge.kernel.errors import MethodNotAllowed, NotFound, NotSupported
from polyforge.registry.catalog import Catalog
from polyforge.server.authentication import Authentication
from polyforge.server.endpoints import Endpoint
from polyforge.server.http import Receive, Scope, declared_length, first_values, read_body
from polyforge.server.open_inference.described import description
from polyforge.server.open_inference.inferring import TensorEndpoints
from polyforge.server.operations import Operations
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.policy import authorize

Told = tuple[int, bytes]
"""Status and body."""
NO_REPOSITORY_NAME: Final = "'repository_name' specification is not supported: there is one repository"
_OK: Final = 200
_UNAVAILABLE: Final = 503


class OpenInference:
    """The protocol's paths. Whoever may list models may see those that they may use.

    To load and unload, and to see the statistics of all, is to operate what every project shares. Bodies have at most
    `max_bytes`, compressed or not.
    """

    def __init__(
        self,
        hosted: HostedModels,
        host_operations: HostOperations,
        lineups: Lineups,
        authentication: Authentication,
        operations: Operations,
        max_bytes: int,
    ) -> None:
        self._hosted = hosted
        self._operations_of_host = host_operations
        self._lineups = lineups
        self._authentication = authentication
        self._operations = operations
        self._max_bytes = max_bytes
        self._endpoints = TensorEndpoints(hosted, max_bytes)
        self._description = description()
        self._server = oip.encode_json(oip.ServerMetadata("polyforge", __version__))

    def endpoint(self, scope: Scope, receive: Receive) -> tuple[Endpoint | None, Receive]:
        """What answers to a request for an inference, None for any other; and what to take its body through."""
        return self._endpoints.find(scope), self._endpoints.receiver(scope, receive)

    async def metrics(self) -> bytes:
        """What the model host counts, in Prometheus's text format; nothing while it does not answer."""
        return await self._hosted.metrics()

    async def answer(self, scope: Scope, receive: Receive) -> Told:
        """Status and body for any other request."""
        method: str = scope["method"]
        parts = scope["path"].split("/")[2:]
        match parts:
            case ["health", ("live" | "ready") as probe]:
                _only("GET", method)
                return await self._health(probe)
            case ["openapi.json"]:
                _only("GET", method)
                return _OK, self._description
            case ["repository", *call]:
                _only("POST", method)
                return await self._repository(call, scope, receive)
            case ["systemsharedmemory" | "cudasharedmemory" as kind, *call]:
                await self._reader(scope)
                return _no_shared_memory(kind, call[-1] if call else "")
            case ["logging" | "trace" as kind, *_]:
                await self._reader(scope)
                raise NotSupported(f"{kind} settings are those of the host; its own settings decide")
            case _:
                return await self._read(scope)

    async def _health(self, probe: str) -> Told:
        """No key is needed to ask, as for /livez and /readyz."""
        if probe == "live":
            return _OK, b'{"live":true}'
        status, _ = self._operations.ready()
        if status == _OK and await self._hosted.ready():
            return _OK, b'{"ready":true}'
        return _UNAVAILABLE, b'{"ready":false}'

    async def _read(self, scope: Scope) -> Told:
        path, method = scope["path"], scope["method"]
        asked = read_model_path(path)
        if path in ("/v2", "/v2/"):
            _only("GET", method)
            await self._reader(scope)
            return _OK, self._server
        if path == "/v2/models/stats":
            _only("GET", method)
            return _OK, await self._hosted.statistics(self._catalog, await self._operator(scope))
        if asked is None:
            raise NotFound("Not Found")
        if is_inference(asked.operation):
            raise MethodNotAllowed("Method Not Allowed: this path takes POST", allowed="POST")
        _only("GET", method)
        return await self._hosted.describe(self._catalog, await self._reader(scope), asked)

    async def _repository(self, call: list[str], scope: Scope, receive: Receive) -> Told:
        match call:
            case ["index"]:
                caller = await self._reader(scope)
                return _OK, await self._hosted.index(self._catalog, caller, await self._body(scope, receive) or b"{}")
            case ["models", *names, ("load" | "unload") as does] if names:
                caller = await self._operator(scope)
                body = await self._body(scope, receive)
                await self._operations_of_host.change(self._catalog, caller, "/".join(names), does, body)
                return _OK, b""
            case [_, "index"] | [_, "models", _, "load" | "unload"]:
                await self._reader(scope)
                raise NotSupported(NO_REPOSITORY_NAME)
            case _:
                raise NotFound("Not Found")

    @property
    def _catalog(self) -> Catalog:
        return self._lineups.current.catalog

    async def _reader(self, scope: Scope) -> Caller:
        caller = await self._authentication.caller(scope)
        authorize(caller, "models:read")
        return caller

    async def _operator(self, scope: Scope) -> Caller:
        caller = await self._authentication.caller(scope)
        authorize(caller, "models:operate")
        return caller

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        declared_length(first_values(scope["headers"]), self._max_bytes)
        return await read_body(receive, self._max_bytes)


def _no_shared_memory(kind: str, call: str) -> Told:
    """There is none to see or give up, as many clients begin."""
    if call in ("status", "unregister"):
        return _OK, b"[]" if call == "status" else b""
    raise NotSupported(f"{kind} is not supported; send tensors as binary data")


def _only(expected: str, method: str) -> None:
    if method != expected:
        raise MethodNotAllowed(f"Method Not Allowed: this path takes {expected}", allowed=expected)
