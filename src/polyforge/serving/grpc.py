"""The host's gRPC service: what the HTTP routes answer, by the same models, checks and words."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

from polyforge.dialects import oip_grpc
from polyforge.dialects.oip_grpc import HEALTH_MESSAGES, MESSAGES
from polyforge.kernel.errors import NotSupported, PolyforgeError
from polyforge.serving.api import MAX_BODY_BYTES, ONE_REPOSITORY, OipApp
from polyforge.telemetry.logs import get_logger

MAX_IN_STREAM = 64
"""Requests of one stream that are under way at once; the next is read when one is answered."""
INTERNAL = "internal error; the log of the model host has the details"

_log = get_logger(__name__)

_rpc: Final[Any] = grpc
"""The library's types are partial, and differ between its stubs and itself."""
_Method = Callable[[Any], Awaitable[Any]]

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    402: grpc.StatusCode.RESOURCE_EXHAUSTED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class OipService:
    """The Open Inference Protocol's methods over the same app that answers HTTP."""

    def __init__(self, app: OipApp) -> None:
        self._app = app

    def handlers(self) -> tuple[Any, ...]:
        """What a server is given to answer with."""
        methods: dict[str, Any] = {
            name: _unary(method, MESSAGES[f"{name}Request"], MESSAGES[f"{name}Response"])
            for name, method in self._methods().items()
        }
        methods["ModelInfer"] = _unary(self._infer, MESSAGES["ModelInferRequest"], MESSAGES["ModelInferResponse"])
        methods["ModelStreamInfer"] = _rpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=MESSAGES["ModelInferRequest"].FromString,
            response_serializer=MESSAGES["ModelStreamInferResponse"].SerializeToString,
        )
        check = _unary(
            self._check_health, HEALTH_MESSAGES["HealthCheckRequest"], HEALTH_MESSAGES["HealthCheckResponse"]
        )
        return (
            _rpc.method_handlers_generic_handler(oip_grpc.SERVICE, methods),
            _rpc.method_handlers_generic_handler(oip_grpc.HEALTH_SERVICE, {"Check": check}),
        )

    def _methods(self) -> dict[str, _Method]:
        return {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
            **{
                f"{kind}SharedMemory{call}": _nothing_to_do(f"{kind}SharedMemory{call}Response")
                for kind in ("System", "Cuda")
                for call in ("Status", "Unregister")
            },
        }

    async def _server_live(self, _: Any) -> Any:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def _server_ready(self, _: Any) -> Any:
        return MESSAGES["ServerReadyResponse"](ready=self._app.ready)

    async def _check_health(self, _: Any) -> Any:
        return HEALTH_MESSAGES["HealthCheckResponse"](status="SERVING" if self._app.ready else "NOT_SERVING")

    async def _server_metadata(self, _: Any) -> Any:
        metadata = self._app.metadata
        return MESSAGES["ServerMetadataResponse"](
            name=metadata.name, version=metadata.version, extensions=metadata.extensions
        )

    async def _model_ready(self, request: Any) -> Any:
        model = self._app.repository.find(request.name, request.version or None)
        return MESSAGES["ModelReadyResponse"](ready=model.ready)

    async def _model_metadata(self, request: Any) -> Any:
        return oip_grpc.metadata_response(self._app.model_metadata(request.name, request.version or None))

    async def _model_config(self, request: Any) -> Any:
        return oip_grpc.config_response(self._app.configuration(request.name, request.version or None))

    async def _statistics(self, request: Any) -> Any:
        return oip_grpc.statistics_response(self._app.statistics(request.name or None, request.version or None))

    async def _index(self, request: Any) -> Any:
        _check_repository(request)
        return oip_grpc.index_response(self._app.index(only_ready=request.ready))

    async def _load(self, request: Any) -> Any:
        _check_repository(request)
        await self._app.control.load(request.model_name, oip_grpc.parameters_of(request.parameters))
        return MESSAGES["RepositoryModelLoadResponse"]()

    async def _unload(self, request: Any) -> Any:
        _check_repository(request)
        parameters = oip_grpc.parameters_of(request.parameters)
        await self._app.control.unload(
            request.model_name, dependents=parameters.get("unload_dependents", False) is True
        )
        return MESSAGES["RepositoryModelUnloadResponse"]()

    async def _infer(self, message: Any) -> Any:
        model = self._app.repository.find(message.model_name, message.model_version or None)
        request = oip_grpc.decode_request(message)
        # A caller that hangs up cancels this task; nothing else has to watch for it.
        outputs = await self._app.inference.answer(model, request, _never)
        return oip_grpc.encode_response(model.name, model.version, request.id, outputs)

    async def _stream(self, messages: AsyncIterator[Any], _: Any) -> AsyncIterator[Any]:
        """Answers in the order of the requests, which are computed beside each other; an error ends no stream."""
        answers: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue()
        room = asyncio.Semaphore(MAX_IN_STREAM)
        started: set[asyncio.Task[Any]] = set()
        reader = asyncio.ensure_future(self._read_stream(messages, answers, room, started))
        try:
            while (answer := await answers.get()) is not None:
                yield await answer
                room.release()
            await reader
        finally:
            for task in (reader, *started):
                task.cancel()

    async def _read_stream(
        self,
        messages: AsyncIterator[Any],
        answers: asyncio.Queue[asyncio.Task[Any] | None],
        room: asyncio.Semaphore,
        started: set[asyncio.Task[Any]],
    ) -> None:
        try:
            async for message in messages:
                await room.acquire()
                task = asyncio.ensure_future(self._stream_answer(message))
                started.add(task)
                task.add_done_callback(started.discard)
                answers.put_nowait(task)
        finally:
            answers.put_nowait(None)

    async def _stream_answer(self, message: Any) -> Any:
        try:
            return oip_grpc.stream_response(await self._infer(message))
        except PolyforgeError as error:
            return oip_grpc.stream_error(message.id, error.message)
        except Exception:  # noqa: BLE001  the last stop: opaque to the caller, whole in the log
            _log.exception("a request failed", method="ModelStreamInfer")
            return oip_grpc.stream_error(message.id, INTERNAL)


def make_server(app: OipApp, *, max_message_bytes: int = MAX_BODY_BYTES) -> grpc.aio.Server:
    """A server that answers for an app; it has no port yet and is not started."""
    server: Any = _rpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
    )
    server.add_generic_rpc_handlers(OipService(app).handlers())
    return server


def _unary(method: _Method, request: Any, response: Any) -> Any:
    async def answer(message: Any, context: Any) -> Any:
        try:
            return await method(message)
        except PolyforgeError as error:
            await context.abort(_CODES.get(error.status, grpc.StatusCode.INTERNAL), error.message)
        except Exception:  # noqa: BLE001  the last stop: opaque to the caller, whole in the log
            _log.exception("a request failed", method=request.DESCRIPTOR.name)
            await context.abort(grpc.StatusCode.INTERNAL, INTERNAL)

    return _rpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=request.FromString, response_serializer=response.SerializeToString
    )


def _check_repository(request: Any) -> None:
    if request.repository_name:
        raise NotSupported(ONE_REPOSITORY)


def _nothing_to_do(response: str) -> _Method:
    """Of shared memory there is none to see or give up, which many clients do first of all."""

    async def answer(_: Any) -> Any:
        return MESSAGES[response]()

    return answer


async def _never() -> None:
    await asyncio.Event().wait()
