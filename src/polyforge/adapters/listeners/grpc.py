"""A gRPC server for the Open Inference Protocol with Triton's extensions, and for grpc.health.v1, over an application.

Metadata of a call become headers, so a key comes as `authorization: Bearer ...` or `x-api-key: ...`; what the
application says beside its answer, such as how long to wait, comes back as trailing metadata.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
from pydantic import BaseModel, ConfigDict, Field

from polyforge.adapters.listeners.oip import messages
from polyforge.adapters.listeners.oip.calling import MAX_WAITING, App, Headers
from polyforge.adapters.listeners.oip.messages import HEALTH_MESSAGES, HEALTH_SERVICE, MESSAGES, SERVICE
from polyforge.adapters.listeners.oip.service import Caller, Method, OipService
from polyforge.kernel.errors import PolyforgeError, SettingsError
from polyforge.telemetry.logs import get_logger

MAX_IN_STREAM: Final = 64
"""Requests of one stream that are under way at once; the next is read when one is answered."""
INTERNAL: Final = "something went wrong on our side; the log has the details"
REFUSING_SECONDS: Final = 5.0
"""At most, before what listens is closed: whoever asks just then is told CANCELLED, which callers do not try again."""
QUIET_SECONDS: Final = 0.2
"""Without a new call, for the callers to have heard that they have to go elsewhere."""
ENDING: Final = "this server is about to end; try again"
_FORWARDED: Final = frozenset({"authorization", "x-api-key", "api-key", "idempotency-key", "traceparent", "user-agent"})
_OWN: Final = "x-polyforge-"
_TOLD: Final = (b"x-request-id", b"retry-after", b"retry-after-ms", b"x-should-retry")
_TOLD_OF: Final = (b"x-ratelimit-", b"x-polyforge-")
_SERVER_ERROR: Final = 500

_log = get_logger(__name__)

_rpc: Final[Any] = grpc
"""The library's types are partial, and differ between its stubs and itself."""

_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    402: grpc.StatusCode.RESOURCE_EXHAUSTED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.FAILED_PRECONDITION,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    502: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Settings(BaseModel):
    """Where it listens; wiring fills it in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(description="Address to listen on.")
    port: int = Field(ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    shared: bool = Field(default=False, description="Whether several processes listen on the same port.")
    cert: Path | None = Field(default=None, description="PEM file of the certificate chain; none: without TLS.")
    key: Path | None = Field(default=None, description="PEM file of the private key.")
    max_message_bytes: int = Field(default=64 * 1024 * 1024, ge=1, description="Largest message that is taken.")


class GrpcListener:
    """Serves an application from `open` on; SettingsError when it cannot listen."""

    def __init__(self, settings: Settings, app: App) -> None:
        self._settings = settings
        self._service = OipService(app)
        self._calls = _Calls()
        self._server: grpc.aio.Server | None = None
        self._ending: asyncio.Future[None] | None = None
        self.port = 0
        """Where it listens."""

    async def open(self) -> None:
        """Listen, and answer."""
        server: Any = _rpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._settings.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", int(self._settings.shared)),
            ]
        )
        server.add_generic_rpc_handlers(self._handlers())
        self.port = self._bind(server)
        await server.start()
        self._server = server

    def drain(self, seconds: float) -> None:
        """Refuse new calls from now on; those under way have so many seconds to end."""
        self._calls.refuses = True
        if self._server is not None and self._ending is None:
            self._ending = asyncio.ensure_future(self._end(self._server, seconds))

    async def close(self) -> None:
        """Once what is being drained has ended, or else at once."""
        self.drain(0.0)
        if self._ending is not None:
            await self._ending

    async def _end(self, server: Any, seconds: float) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, REFUSING_SECONDS)):
                await self._calls.quiet()
        await server.stop(max(0.0, deadline - asyncio.get_running_loop().time()))

    def _bind(self, server: Any) -> int:
        given = self._settings
        host = f"[{given.host}]" if ":" in given.host else given.host
        address = f"{host}:{given.port}"
        try:
            if given.cert is None or given.key is None:
                return server.add_insecure_port(address)
            pair = (given.key.read_bytes(), given.cert.read_bytes())
            return server.add_secure_port(address, _rpc.ssl_server_credentials([pair]))
        except OSError as error:
            raise SettingsError(f"server.tls: {error.strerror}") from error
        except RuntimeError as error:
            raise SettingsError(
                f"server.grpc_port: cannot listen on {address}; stop the program that listens there, or choose another"
            ) from error

    def _handlers(self) -> tuple[Any, ...]:
        methods: dict[str, Any] = {
            name: _unary(method, MESSAGES[f"{name}Request"], MESSAGES[f"{name}Response"], self._calls)
            for name, method in self._service.methods().items()
        }
        methods["ModelStreamInfer"] = _rpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=MESSAGES["ModelInferRequest"].FromString,
            response_serializer=MESSAGES["ModelStreamInferResponse"].SerializeToString,
        )
        # Asked by whoever wants to know whether to send calls here: that is answered to the end.
        check = _unary(
            self._check_health, HEALTH_MESSAGES["HealthCheckRequest"], HEALTH_MESSAGES["HealthCheckResponse"], _Calls()
        )
        return (
            _rpc.method_handlers_generic_handler(SERVICE, methods),
            _rpc.method_handlers_generic_handler(HEALTH_SERVICE, {"Check": check}),
        )

    async def _check_health(self, _: Any, caller: Caller) -> Any:
        ready = not self._calls.refuses and await self._service.ready(caller)
        return HEALTH_MESSAGES["HealthCheckResponse"](status="SERVING" if ready else "NOT_SERVING")

    async def _stream(self, received: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Answers in the order of the requests, which are computed beside each other; an error ends no stream."""
        await self._calls.admit(context)
        with self._calls.under_way():
            async with aclosing(self._answers(received, context)) as answers:
                async for answer in answers:
                    yield answer

    async def _answers(self, received: AsyncIterator[Any], context: Any) -> AsyncGenerator[Any]:
        requests: asyncio.Queue[asyncio.Queue[Any] | None] = asyncio.Queue()
        room = asyncio.Semaphore(MAX_IN_STREAM)
        started: set[asyncio.Task[None]] = set()
        reader = asyncio.ensure_future(self._read_stream(received, context, requests, room, started))
        try:
            while (answers := await requests.get()) is not None:
                while (answer := await answers.get()) is not None:
                    yield answer
                room.release()
            await reader
        finally:
            for task in (reader, *started):
                task.cancel()

    async def _read_stream(
        self,
        received: AsyncIterator[Any],
        context: Any,
        requests: asyncio.Queue[asyncio.Queue[Any] | None],
        room: asyncio.Semaphore,
        started: set[asyncio.Task[None]],
    ) -> None:
        try:
            async for message in received:
                await room.acquire()
                answers: asyncio.Queue[Any] = asyncio.Queue(MAX_WAITING)
                task = asyncio.ensure_future(self._answer_in_stream(message, _caller_of(context), answers))
                started.add(task)
                task.add_done_callback(started.discard)
                requests.put_nowait(answers)
        finally:
            requests.put_nowait(None)

    async def _answer_in_stream(self, message: Any, caller: Caller, answers: asyncio.Queue[Any]) -> None:
        """Every answer to one request, then None; an error is an answer."""
        try:
            async with aclosing(self._service.stream(message, caller)) as made:
                async for answer in made:
                    await answers.put(answer)
        except PolyforgeError as error:
            await answers.put(messages.stream_error(message.id, error.message))
        except Exception:  # noqa: BLE001  the last stop: opaque to the caller, whole in the log
            _log.exception("a request failed", method="ModelStreamInfer")
            await answers.put(messages.stream_error(message.id, INTERNAL))
        await answers.put(None)


class _Calls:
    """The calls under way. Once it `refuses`, new ones are sent elsewhere."""

    def __init__(self) -> None:
        self.refuses = False
        self._count = 0
        self._latest = 0.0

    async def admit(self, context: Any) -> None:
        """Abort a call that comes too late."""
        self._latest = time.monotonic()
        if self.refuses:
            context.set_trailing_metadata((("retry-after", "1"),))
            await context.abort(grpc.StatusCode.UNAVAILABLE, ENDING)

    @contextmanager
    def under_way(self) -> Generator[None]:
        """Count a call as long as it lasts."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    async def quiet(self) -> None:
        """Until no call is under way, and none has come for a moment."""
        while self._count or time.monotonic() - self._latest < QUIET_SECONDS:  # noqa: ASYNC110  a moment has no event
            await asyncio.sleep(QUIET_SECONDS / 4)


def _unary(method: Method, request: Any, response: Any, calls: _Calls) -> Any:
    async def answer(message: Any, context: Any) -> Any:
        await calls.admit(context)
        caller = _caller_of(context)
        with calls.under_way():
            try:
                found = await method(message, caller)
            except PolyforgeError as error:
                _tell(context, caller)
                await context.abort(_CODES.get(error.status, grpc.StatusCode.INTERNAL), error.message)
            except Exception:  # noqa: BLE001  the last stop: opaque to the caller, whole in the log
                _log.exception("a request failed", method=request.DESCRIPTOR.name)
                await context.abort(grpc.StatusCode.INTERNAL, INTERNAL)
            else:
                _tell(context, caller)
                return found

    return _rpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=request.FromString, response_serializer=response.SerializeToString
    )


def _caller_of(context: Any) -> Caller:
    """Only what an application may make something of goes on: never what says how a message travelled."""
    given: list[tuple[str, str | bytes]] = list(context.invocation_metadata() or ())
    headers: Headers = [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in given
        if name in _FORWARDED or name.startswith(_OWN)
    ]
    return Caller(headers, _client_of(context.peer()))


def _client_of(peer: str) -> tuple[str, int] | None:
    """The address in `ipv4:127.0.0.1:50051` or `ipv6:%5B::1%5D:50051`."""
    family, _, address = peer.partition(":")
    host, _, port = address.rpartition(":")
    if family not in ("ipv4", "ipv6") or not port.isdecimal():
        return None
    return host.replace("%5B", "").replace("%5D", "").strip("[]"), int(port)


def _tell(context: Any, caller: Caller) -> None:
    told = [
        (name.decode(), value.decode("latin-1"))
        for name, value in caller.told.items()
        if name in _TOLD or name.startswith(_TOLD_OF)
    ]
    if told:
        context.set_trailing_metadata(tuple(told))


ADAPTER = GrpcListener
