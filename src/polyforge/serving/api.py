"""The host's routes: the Open Inference Protocol over HTTP as plain ASGI, with statistics and Prometheus' /metrics.

Where the protocol and Triton differ, health answers are as the protocol says and errors as Triton words them.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from math import ceil
from typing import Any, cast
from urllib.parse import unquote

import msgspec

from polyforge.dialects import oip, oip_frames, oip_generate
from polyforge.dialects.content_encoding import inflated, is_plain
from polyforge.dialects.protobuf_schema import Values
from polyforge.kernel.errors import (
    BrokenOff,
    Cancelled,
    Invalid,
    MethodNotAllowed,
    NotFound,
    NotSupported,
    PolyforgeError,
    TooLarge,
)
from polyforge.secrets.handed import HandedSecrets
from polyforge.serving.inference import Answered, Inference
from polyforge.serving.lifecycle.figures import life_text
from polyforge.serving.lifecycle.keeping import Lifecycle
from polyforge.serving.lifecycle.roster import Roster
from polyforge.serving.processes import living, process_text
from polyforge.serving.reporting import VersionReport, encode_reports, report_of
from polyforge.serving.repository import HostedModel, Repository
from polyforge.serving.scheduler import Scheduler
from polyforge.serving.statistics import ModelReport, prometheus_text, triton_statistics
from polyforge.serving.triton.control import ModelControl
from polyforge.serving.triton.showing import configuration_of
from polyforge.telemetry.logs import get_logger

_log = get_logger(__name__)

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

Find = Callable[[], HostedModel]
"""The model that answers now: another one may have taken its place while a body was on its way."""

MAX_BODY_BYTES = 64 * 1024 * 1024
ONE_REPOSITORY = "'repository_name' specification is not supported: there is one repository"
OFFLOAD_BYTES = 256 * 1024
"""JSON bodies from this size on are parsed in a thread, so that the event loop goes on."""
INTERNAL = "internal error; the log of the model host has the details"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PARAM_HEADER = b"x-polyforge-param"
"""Names the field that an error is about; the protocol's own error body has no room for it."""


class Response(msgspec.Struct, frozen=True, gc=False):
    """A whole answer."""

    status: int
    body: bytes
    content_type: str = oip.JSON_TYPE
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Streamed(msgspec.Struct, frozen=True, gc=False):
    """An answer in parts, each sent when it is there."""

    parts: AsyncGenerator[bytes]
    content_type: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class OipApp:
    """The ASGI application over a repository and a scheduler. Unexpected errors go to the log, never to a caller."""

    def __init__(
        self,
        repository: Repository,
        scheduler: Scheduler,
        *,
        version: str,
        max_rows: int,
        timeout: float,
        max_body_bytes: int = MAX_BODY_BYTES,
        control: ModelControl | None = None,
        lifecycle: Lifecycle | None = None,
        roster: Roster | None = None,
        secrets: HandedSecrets | None = None,
    ) -> None:
        self._secrets = secrets
        self.repository = repository
        self._scheduler = scheduler
        self._control = control
        self._roster = roster
        self._lifecycle = lifecycle
        self.inference = Inference(repository, scheduler, max_rows=max_rows, timeout=timeout, lifecycle=lifecycle)
        self.metadata = oip.ServerMetadata("polyforge", version)
        self._max_body_bytes = max_body_bytes
        self._began = False
        self._draining = False

    @property
    def ready(self) -> bool:
        """Whether every model that the host began with is loaded, or has failed to; loading more changes nothing."""
        starting = self._control is not None and self._control.starting
        self._began = self._began or (self.repository.settled and not starting)
        return self._began and not self._draining

    def drain(self) -> None:
        """Be not ready from now on; what is under way goes on."""
        self._draining = True

    def model_metadata(self, name: str, version: str | None) -> oip.ModelMetadata:
        """What a model takes and gives, and which versions of it answer."""
        return _metadata(self.repository.find(name, version), self.repository)

    def configuration(self, name: str, version: str | None) -> Values:
        """A model's configuration in Triton's words."""
        return configuration_of(self.repository.find(name, version))

    def statistics(self, name: str | None, version: str | None) -> dict[str, Any]:
        """The counters of a model, or of all."""
        models = self.repository if name is None else (self.repository.find(name, version),)
        return triton_statistics(self._report(model) for model in models)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; one whose caller hung up is left without an answer."""
        try:
            response = await self._route(scope, receive)
        except Cancelled:
            return
        except PolyforgeError as error:
            response = _error(error)
        except Exception:  # noqa: BLE001  the last stop: opaque to the caller, whole in the log
            _log.exception("a request failed", path=scope["path"])
            response = _error(PolyforgeError(INTERNAL))
        await (_send_parts(response, send) if isinstance(response, Streamed) else _send(response, send))

    async def _route(self, scope: Scope, receive: Receive) -> Response | Streamed:
        method: str = scope["method"]
        match [unquote(part) for part in cast(bytes, scope["raw_path"]).decode("latin-1").split("/")[1:]]:
            case ["v2", "models", "stats"]:
                _only("GET", method)
                return _json(triton_statistics(self._report(model) for model in self.repository))
            case ["v2", "models", name, "versions", version, *rest] if len(rest) <= 1:
                return await self._model(method, partial(self.repository.find, name, version), rest, scope, receive)
            case ["v2", "models", name, *rest] if len(rest) <= 1:
                return await self._model(method, partial(self.repository.find, name), rest, scope, receive)
            case ["v2", "repository", *call]:
                return await self._repository_call(method, call, scope, receive)
            case ["v2", ("systemsharedmemory" | "cudasharedmemory" | "logging" | "trace") as kind, *call]:
                return _elsewhere(kind, call[-1] if call else "")
            case ["v2"]:
                _only("GET", method)
                return _json(self.metadata)
            case ["v2", "health", ("live" | "ready") as probe]:
                _only("GET", method)
                return self._health(probe)
            case ["metrics"]:
                _only("GET", method)
                text = prometheus_text(self._report(model) for model in self.repository)
                lives = [] if self._lifecycle is None else self._lifecycle.lives(self.repository)
                return Response(200, (text + process_text(self.repository) + life_text(lives)).encode(), METRICS_TYPE)
            case _:
                raise NotFound("Not Found")

    def _health(self, probe: str) -> Response:
        if probe == "live":
            return _json({"live": True})
        ready = self.ready
        return _json({"ready": ready}, 200 if ready else 503)

    async def _model(
        self,
        method: str,
        find: Find,
        rest: list[str],
        scope: Scope,
        receive: Receive,
    ) -> Response | Streamed:
        model = find()
        match rest:
            case ["infer"]:
                _only("POST", method)
                return await self._infer(find, scope, receive)
            case []:
                _only("GET", method)
                return Response(200, oip.encode_json(_metadata(model, self.repository)))
            case ["ready"]:
                _only("GET", method)
                return _readiness(model)
            case ["stats"]:
                _only("GET", method)
                return _json(triton_statistics((self._report(model),)))
            case ["config"]:
                _only("GET", method)
                return _json(configuration_of(model))
            case ["infer_stream"]:
                _only("POST", method)
                return await self._infer_stream(find, scope, receive)
            case ["generate" | "generate_stream" as call]:
                _only("POST", method)
                return await self._generate(find, scope, receive, stream=call == "generate_stream")
            case _:
                raise NotFound("Not Found")

    async def _infer(self, find: Find, scope: Scope, receive: Receive) -> Response:
        body = await self._plain_body(scope, receive)
        request = await self._decoded(await self.inference.awake(find()), scope, body)
        model = find()
        answered = await self.inference.answer(model, request, lambda: _gone(receive))
        outputs = answered.outputs
        size = sum(tensor.count for tensor in outputs if not request.wants_binary(tensor.name))
        encode = oip.encode_response
        if size >= OFFLOAD_BYTES:
            message = await asyncio.to_thread(encode, model.name, model.version, request, outputs)
        else:
            message = encode(model.name, model.version, request, outputs)
        headers = _tokens(answered)
        if message.header_length is not None:
            headers += ((_HEADER_LENGTH, b"%d" % message.header_length),)
        return Response(200, message.join(), message.content_type, headers)

    async def _infer_stream(self, find: Find, scope: Scope, receive: Receive) -> Streamed:
        """Every answer of a model that streams, as it comes; what fails before the first is a plain error."""
        body = await self._plain_body(scope, receive)
        request = await self._decoded(await self.inference.awake(find()), scope, body)
        model = find()
        last = not model.signature.streams
        answers = self.inference.stream(model, request, lambda: _gone(receive))
        first = await anext(answers, None)

        def encode(answered: Answered) -> bytes:
            message = oip.encode_response(model.name, model.version, request, answered.outputs)
            return oip_frames.answer_frame(message, last=last)

        headers = () if first is None else _tokens(first)
        return Streamed(_parts(answers, first, encode, oip_frames.error_frame), oip_frames.FRAMES_TYPE, headers)

    async def _generate(self, find: Find, scope: Scope, receive: Receive, *, stream: bool) -> Response | Streamed:
        """What fails before the first answer of a stream is a plain error; most engines give one answer per request."""
        body = await self._plain_body(scope, receive)
        model = await self.inference.awake(find())
        signature = model.signature
        request = oip_generate.decode_generate(body, signature.inputs, has_rows=signature.batch_rows > 0)
        if stream and signature.streams:
            answers = self.inference.stream(model, request, lambda: _gone(receive))
            first = await anext(answers, None)

            def encode(answered: Answered) -> bytes:
                return oip_generate.event(_generated(model, request, answered))

            return Streamed(_parts(answers, first, encode, oip_generate.error_event), oip_generate.EVENT_TYPE)
        answered = await self.inference.answer(model, request, lambda: _gone(receive))
        answer = _generated(model, request, answered)
        if stream:
            return Response(200, oip_generate.event(answer), oip_generate.EVENT_TYPE, _tokens(answered))
        return Response(200, answer, headers=_tokens(answered))

    async def _decoded(self, model: HostedModel, scope: Scope, body: bytes) -> oip.InferRequest:
        header_length = oip.header_length_of(_header(scope, _HEADER_LENGTH), len(body))
        if header_length == 0:
            return oip.decode_raw_request(body, model.signature.inputs, has_rows=model.signature.batch_rows > 0)
        if header_length is None and len(body) >= OFFLOAD_BYTES:
            return await asyncio.to_thread(oip.decode_request, body)
        return oip.decode_request(body, header_length)

    async def _repository_call(self, method: str, call: list[str], scope: Scope, receive: Receive) -> Response:
        _only("POST", method)
        body = await self._plain_body(scope, receive)
        match call:
            case ["index"]:
                return Response(
                    200, oip.encode_json(self.index(only_ready=oip.decode_index_request(body) if body else False))
                )
            case ["polyforge", "names"]:
                return _json([] if self._control is None else self._control.names())
            case ["polyforge", "models"]:
                return Response(200, encode_reports(self.reports()))
            case ["polyforge", "refresh"] if self._roster is not None:
                self._roster.refresh()
            case ["polyforge", "secrets"] if self._secrets is not None:
                self._secrets.take(body)
            case ["models", name, ("load" | "unload") as change] if self._roster and self._roster.declares(name):
                await (self._roster.load(name) if change == "load" else self._roster.unload(name))
            case ["models", name, "load"]:
                await self.control.load(name, oip.decode_repository_parameters(body))
            case ["models", name, "unload"]:
                dependents = oip.decode_repository_parameters(body).get("unload_dependents", False)
                await self.control.unload(name, dependents=dependents is True)
            case [_, "index"] | [_, "models", _, "load" | "unload"]:
                raise NotSupported(ONE_REPOSITORY)
            case _:
                raise NotFound("Not Found")
        return Response(200, b"")

    def reports(self) -> list[VersionReport]:
        """Everything that is known of each version of each model."""
        lived = [] if self._lifecycle is None else self._lifecycle.lives(self.repository)
        lives = {(life.model, life.version): life for life in lived}
        return [
            report_of(model, lives.get((model.name, model.version)), self._scheduler.waiting(model), living(model))
            for model in self.repository
        ]

    def index(self, *, only_ready: bool) -> list[oip.IndexEntry]:
        """Every model, or those that answer."""
        if self._control is not None:
            return self._control.index(only_ready=only_ready)
        return [
            oip.IndexEntry(model.name, model.version, *model.shown)
            for model in self.repository
            if not only_ready or model.answers
        ]

    @property
    def control(self) -> ModelControl:
        """What loads and unloads models; Invalid when this host has no repository."""
        if self._control is None:
            raise Invalid("explicit model load / unload is not allowed: this host has no model repository")
        return self._control

    async def _plain_body(self, scope: Scope, receive: Receive) -> bytes:
        return self._decompressed(scope, await self._body(scope, receive))

    def _decompressed(self, scope: Scope, body: bytes) -> bytes:
        encoding = _header(scope, b"content-encoding")
        if encoding is None or is_plain(encoding):
            return body
        try:
            return inflated(body, encoding, self._max_body_bytes)
        except TooLarge as error:
            raise self._too_large(self._max_body_bytes + 1) from error

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        declared = _header(scope, b"content-length")
        if declared is not None and int(declared) > self._max_body_bytes:
            raise self._too_large(int(declared))
        message = await receive()
        body: bytes = message.get("body", b"")
        if (
            message["type"] == "http.request"
            and not message.get("more_body", False)
            and len(body) <= self._max_body_bytes
        ):
            return body
        return await self._long_body(message, receive)

    async def _long_body(self, message: Message, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise Cancelled("the caller closed the connection")
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self._max_body_bytes:
                raise self._too_large(size)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)
            message = await receive()

    def _too_large(self, size: int) -> Invalid:
        return Invalid(f"request of {size} bytes exceeds the maximum allowed input size of {self._max_body_bytes}")

    def _report(self, model: HostedModel) -> ModelReport:
        return ModelReport(
            model.name,
            model.version,
            model.answers,
            self._scheduler.waiting(model),
            model.statistics,
        )


_HEADER_LENGTH = oip.HEADER_LENGTH.encode()
_TOKENS = oip.TOKENS_HEADER.encode()


def _tokens(answered: Answered) -> tuple[tuple[bytes, bytes], ...]:
    return () if answered.tokens is None else ((_TOKENS, b"%d" % answered.tokens),)


def _elsewhere(kind: str, call: str) -> Response:
    """What Triton has and the host has not. Of shared memory there is none to see or give up, as many clients begin."""
    if kind in ("logging", "trace"):
        raise NotSupported(f"{kind} settings are those of the host; its own settings decide")
    if call == "status":
        return _json([])
    if call == "unregister":
        return Response(200, b"")
    raise NotSupported(f"{kind} is not supported; send tensors as binary data")


def _metadata(model: HostedModel, repository: Repository) -> oip.ModelMetadata:
    signature = model.signature
    return oip.ModelMetadata(
        model.name,
        tuple(version.version for version in repository.versions(model.name) if version.ready),
        signature.platform,
        signature.inputs,
        signature.outputs,
    )


def _only(expected: str, method: str) -> None:
    if method != expected:
        raise MethodNotAllowed(f"Method Not Allowed: this path takes {expected}", allowed=expected)


def _json(value: object, status: int = 200) -> Response:
    return Response(status, oip.encode_json(value))


def _error(error: PolyforgeError) -> Response:
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after is not None:
        headers.append(_retry_after(error.retry_after))
    if error.param is not None and error.param.isascii() and error.param.isprintable():
        headers.append((PARAM_HEADER, error.param.encode()))
    if isinstance(error, BrokenOff):
        headers.append((oip.BROKEN_OFF_HEADER.encode(), b"true"))
    return Response(error.status, oip.encode_error(error), headers=tuple(headers))


def _readiness(model: HostedModel) -> Response:
    back_in, ready = model.back_in, model.answers
    headers = () if back_in is None else (_retry_after(back_in),)
    body = oip.encode_json({"name": model.name, "ready": ready})
    return Response(200 if ready else 503, body, headers=headers)


def _retry_after(seconds: float) -> tuple[bytes, bytes]:
    return b"retry-after", b"%d" % max(1, ceil(seconds))


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return value
    return None


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _generated(model: HostedModel, request: oip.InferRequest, answered: Answered) -> bytes:
    return oip_generate.encode_generated(model.name, model.version, request.id, answered.outputs)


async def _parts(
    answers: AsyncGenerator[Answered],
    first: Answered | None,
    encode: Callable[[Answered], bytes],
    fail: Callable[[PolyforgeError], bytes],
) -> AsyncGenerator[bytes]:
    """Each answer of a stream; the last part is the error, when one ends it."""
    try:
        if first is not None:
            yield encode(first)
        async for answered in answers:
            yield encode(answered)
    except Cancelled:
        return
    except PolyforgeError as error:
        yield fail(error)
    except Exception:  # noqa: BLE001  the last stop: opaque to the caller, whole in the log
        _log.exception("a stream failed")
        yield fail(PolyforgeError(INTERNAL))
    finally:
        await answers.aclose()


async def _send_parts(response: Streamed, send: Send) -> None:
    headers = [(b"content-type", response.content_type.encode()), *response.headers]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async with aclosing(response.parts) as parts:
        async for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send(response: Response, send: Send) -> None:
    headers = [
        (b"content-type", response.content_type.encode()),
        (b"content-length", b"%d" % len(response.body)),
        *response.headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
