"""The methods of the Open Inference Protocol's gRPC service, each as a call of an application that speaks it over HTTP.

So a call passes the same keys, limits, checks and words whichever way it came, and the application knows one protocol.
"""

import base64
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import quote

from polyforge.adapters.listeners.oip import messages
from polyforge.adapters.listeners.oip.calling import OK, Answer, App, Headers, Refused, Request, Stream, call
from polyforge.adapters.listeners.oip.messages import MESSAGES
from polyforge.dialects import oip
from polyforge.dialects.oip_frames import Frame, FrameReader

UNAVAILABLE: Final = 503
_HEADER_LENGTH: Final = oip.HEADER_LENGTH.encode()
_EMPTY_END: Final = "triton_enable_empty_final_response"
"""A parameter with which a caller asks to be told that there is no more."""
_JSON: Final = [(b"content-type", oip.JSON_TYPE.encode())]


class Caller:
    """Whoever called a method: what they sent beside the message, and what is to be told them beside the answer."""

    def __init__(self, headers: Headers, client: tuple[str, int] | None) -> None:
        self.headers = headers
        self.client = client
        self.told: Mapping[bytes, bytes] = {}


Method = Callable[[Any, Caller], Awaitable[Any]]


class OipService:
    """Every method with one request and one answer. What the application refuses is raised as Refused."""

    def __init__(self, app: App) -> None:
        self._app = app

    def methods(self) -> Mapping[str, Method]:
        """By name."""
        return {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self.infer,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
            **{
                f"{kind}SharedMemory{does}": _nothing_to_do(f"{kind}SharedMemory{does}Response")
                for kind in ("System", "Cuda")
                for does in ("Status", "Unregister")
            },
        }

    async def ready(self, caller: Caller) -> bool:
        """Whether the application says that it is."""
        return (await self._answer(caller, "GET", "/v2/health/ready")).status == OK

    async def stream(self, message: Any, caller: Caller) -> AsyncGenerator[Any]:
        """Every answer to one inference as it comes, the last one marked where it is known to be the last."""
        request = messages.decode_request(message)
        ends_empty = request.parameters.get(_EMPTY_END) is True
        made = Stream(self._app, _infer_request(message, request, caller, "infer_stream"))
        marked = False
        try:
            await made.open()
            reader = FrameReader()
            async with aclosing(made.pieces()) as pieces:
                async for piece in pieces:
                    for frame in reader.feed(piece):
                        marked = frame.kind == "last"
                        yield _streamed(frame)
        finally:
            await made.close()
        if ends_empty and not marked:
            yield messages.stream_end(message.model_name, message.model_version, message.id)

    async def infer(self, message: Any, caller: Caller) -> Any:
        """One inference, whole."""
        request = _infer_request(message, messages.decode_request(message), caller, "infer")
        answer = await call(self._app, request, Answer())
        caller.told = answer.headers
        answer.raise_error()
        told = answer.headers.get(_HEADER_LENGTH)
        return messages.infer_response(oip.decode_response(answer.body, oip.header_length_of(told, len(answer.body))))

    async def _server_live(self, _: Any, caller: Caller) -> Any:
        return MESSAGES["ServerLiveResponse"](live=(await self._answer(caller, "GET", "/v2/health/live")).status == OK)

    async def _server_ready(self, _: Any, caller: Caller) -> Any:
        return MESSAGES["ServerReadyResponse"](ready=await self.ready(caller))

    async def _server_metadata(self, _: Any, caller: Caller) -> Any:
        return messages.response_of("ServerMetadataResponse", await self._read(caller, "/v2"))

    async def _model_ready(self, message: Any, caller: Caller) -> Any:
        answer = await self._answer(caller, "GET", _model_path(message.name, message.version, "ready"))
        if answer.status != UNAVAILABLE:
            answer.raise_error()
        return MESSAGES["ModelReadyResponse"](ready=answer.status == OK)

    async def _model_metadata(self, message: Any, caller: Caller) -> Any:
        found = await self._read(caller, _model_path(message.name, message.version))
        return messages.response_of("ModelMetadataResponse", found)

    async def _model_config(self, message: Any, caller: Caller) -> Any:
        found = await self._read(caller, _model_path(message.name, message.version, "config"))
        return messages.response_of("ModelConfigResponse", {"config": found})

    async def _statistics(self, message: Any, caller: Caller) -> Any:
        path = _model_path(message.name, message.version, "stats") if message.name else "/v2/models/stats"
        return messages.response_of("ModelStatisticsResponse", await self._read(caller, path))

    async def _index(self, message: Any, caller: Caller) -> Any:
        path = _repository_path(message.repository_name, "index")
        found = await self._post(caller, path, {"ready": message.ready})
        return messages.response_of("RepositoryIndexResponse", {"models": found})

    async def _load(self, message: Any, caller: Caller) -> Any:
        return await self._control(message, caller, "load")

    async def _unload(self, message: Any, caller: Caller) -> Any:
        return await self._control(message, caller, "unload")

    async def _control(self, message: Any, caller: Caller, does: str) -> Any:
        path = _repository_path(message.repository_name, "models", quote(message.model_name, safe=""), does)
        given = messages.parameters_of(message.parameters)
        await self._post(caller, path, {"parameters": {name: _json_value(value) for name, value in given.items()}})
        return MESSAGES[f"RepositoryModel{does.title()}Response"]()

    async def _read(self, caller: Caller, path: str) -> Any:
        answer = await self._answer(caller, "GET", path)
        answer.raise_error()
        return answer.json

    async def _post(self, caller: Caller, path: str, body: object) -> Any:
        answer = await self._answer(caller, "POST", path, oip.encode_json(body), _JSON)
        answer.raise_error()
        return answer.json

    async def _answer(
        self, caller: Caller, method: str, path: str, body: bytes = b"", headers: Headers | None = None
    ) -> Answer:
        answer = Answer()
        request = Request(method, path, [*caller.headers, *(headers or [])], body, caller.client)
        await call(self._app, request, answer)
        caller.told = answer.headers
        return answer


def _infer_request(message: Any, request: oip.InferRequest, caller: Caller, operation: str) -> Request:
    body = messages.http_request(request)
    headers = [
        *caller.headers,
        (b"content-type", body.content_type.encode()),
        (_HEADER_LENGTH, b"%d" % (body.header_length or 0)),
    ]
    path = _model_path(message.model_name, message.model_version, operation)
    return Request("POST", path, headers, body.join(), caller.client)


def _streamed(frame: Frame) -> Any:
    if frame.kind == "error":
        raise Refused(oip.decode_error(frame.json), 500)
    response = messages.infer_response(oip.decode_response(frame.json + frame.raw, len(frame.json)))
    return messages.stream_response(response, last=frame.kind == "last")


def _model_path(name: str, version: str, *rest: str) -> str:
    if not name:
        raise Refused("Model name cannot be empty. Please enter a valid name to deploy.", 400)
    versions = ("versions", quote(version, safe="")) if version else ()
    return "/".join(("/v2/models", quote(name, safe=""), *versions, *rest))


def _repository_path(repository: str, *rest: str) -> str:
    named = (quote(repository, safe=""),) if repository else ()
    return "/".join(("/v2/repository", *named, *rest))


def _json_value(value: object) -> object:
    """Files travel in base64 over HTTP."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _nothing_to_do(response: str) -> Method:
    """Of shared memory there is none to see or give up, which many clients do first of all."""

    async def answer(_: Any, __: Caller) -> Any:
        return MESSAGES[response]()

    return answer
