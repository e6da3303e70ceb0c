"""The application: one dictionary look-up for the inference paths, the framework behind it for everything else."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from functools import partial
from time import perf_counter_ns
from typing import Any, Final

from polyforge.dialects.oip_paths import is_oip
from polyforge.flows.bounds import MAX_BYTES
from polyforge.kernel.errors import MethodNotAllowed, PolyforgeError, TooLarge
from polyforge.kernel.ids import new_ulid
from polyforge.server.authentication import Authentication
from polyforge.server.batches import PATH as BATCHES_PATH
from polyforge.server.batches import PREFIX as BATCHES_PREFIX
from polyforge.server.batches import Batches
from polyforge.server.console.site import Console, send_page
from polyforge.server.declared import OPEN_PREFIX
from polyforge.server.errors import Rendered, opaque, render_anthropic, renderer_for
from polyforge.server.exchange import Observer
from polyforge.server.files import PATH as FILES_PATH
from polyforge.server.files import PREFIX as FILES_PREFIX
from polyforge.server.files import Files
from polyforge.server.hooks import PREFIX as HOOKS_PREFIX
from polyforge.server.hooks import Hooks
from polyforge.server.http import (
    Message,
    RawHeaders,
    Receive,
    Scope,
    Send,
    declared_length,
    first_values,
    header,
    send_whole,
)
from polyforge.server.inference import Inference
from polyforge.server.mcp import PATH as MCP_PATH
from polyforge.server.mcp import Mcp
from polyforge.server.models import PATH as MODELS_PATH
from polyforge.server.models import Models
from polyforge.server.open_inference.rendering import render_oip
from polyforge.server.open_inference.routes import OpenInference
from polyforge.server.operations import Operations
from polyforge.server.pages import OF_THE_CONSOLE, headers_of, is_page, read_page
from polyforge.server.responses import PREFIX as RESPONSES_PREFIX
from polyforge.server.responses import Conversations
from polyforge.server.turns import Turns
from polyforge.server.well_known import WellKnown
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.people.tokens.api import OAUTH_PATHS
from polyforge.tenancy.policy import authorize

App = Callable[[Scope, Receive, Send], Awaitable[None]]
API_BODY_BYTES: Final = 1024 * 1024
FLOWS_PREFIX: Final = "/api/v1/flows"
FLOW_BODY_BYTES: Final = MAX_BYTES + 64 * 1024
"""A flow is a file, and may be longer than what else the management API takes."""
OPEN_API_PATHS: Final = frozenset({"/api/openapi.json", "/api/v1/health"})
_AT_ONCE: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""What must be answered however many others wait."""
_JSON: Final = b"application/json"
_ANTHROPIC_VERSION: Final = b"anthropic-version"
_METRICS: Final = b"text/plain; version=0.0.4; charset=utf-8"
_log = get_logger(__name__)


class Application:
    """The ASGI application of the gateway."""

    def __init__(
        self,
        inference: Inference,
        models: Models,
        operations: Operations,
        management: App,
        authentication: Authentication,
        observer: Observer,
        well_known: WellKnown,
        conversations: Conversations,
        open_inference: OpenInference,
        console: Console,
        files: Files,
        batches: Batches,
        hooks: Hooks,
        mcp: Mcp,
    ) -> None:
        self._inference = inference
        self._endpoints = inference.endpoints
        self._models = models
        self._operations = operations
        self._management = management
        self._authentication = authentication
        self._observer = observer
        self._well_known = well_known
        self._conversations = conversations
        self._open_inference = open_inference
        self._console = console
        self._files = files
        self._batches = batches
        self._hooks = hooks
        self._mcp = mcp
        self._turns = Turns()

    def drain(self) -> None:
        """Take no new traffic; what is under way goes on."""
        self._operations.drain()
        self._mcp.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            endpoint = self._endpoints.get(scope["path"])
            if endpoint is None and is_oip(scope["path"]):
                endpoint, receive = self._open_inference.endpoint(scope, receive)
            if endpoint is not None and scope["method"] == "POST":
                await self._inference(endpoint, scope, receive, send)
            else:
                await self._guarded(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "no such path"})

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route, and render whatever goes wrong before the answer began."""
        request_id = new_ulid()
        scope.setdefault("state", {})["request_id"] = request_id
        began = perf_counter_ns()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_request_id(message["headers"], request_id)
            await send(message)

        try:
            await self._answer(scope, receive, watched, request_id, lambda: status != 0)
        finally:
            self._observer.managed(request_id, scope["method"], scope["path"], status, perf_counter_ns() - began)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, request_id: str, started: Callable[[], bool]
    ) -> None:
        try:
            async with nullcontext() if scope["path"] in _AT_ONCE else self._turns.taken():
                await self._route(scope, receive, send)
            return
        except PolyforgeError as error:
            failure = error
        except Exception:  # noqa: BLE001 - whatever it was, the caller gets an opaque 500
            _log.exception("request failed", request_id=request_id, path=scope["path"])
            failure = opaque()
        if started():
            raise failure
        rendered = _renderer_for(scope)(failure, request_id)
        await send_whole(send, rendered.status, rendered.headers, rendered.body)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path in self._endpoints:
            raise MethodNotAllowed(f"{path} takes POST", allowed="POST")
        if path.startswith("/api/"):
            await self._manage(scope, receive, send)
            return
        if path.startswith(RESPONSES_PREFIX):
            caller = await self._authentication.caller(scope)
            told = await self._conversations.answer(scope["method"], path, scope["query_string"], caller)
            await send_whole(send, 200, [(b"content-type", _JSON)], told)
            return
        if path == FILES_PATH or path.startswith(FILES_PREFIX):
            await self._files.answer(scope, receive, send, await self._authentication.caller(scope))
            return
        if path == BATCHES_PATH or path.startswith(BATCHES_PREFIX):
            await self._batches.answer(scope, receive, send, await self._authentication.caller(scope))
            return
        if (flows := self._flows_at(path)) is not None:
            await flows(scope, receive, send)
            return
        if is_oip(path):
            status, told = await self._open_inference.answer(scope, receive)
            await send_whole(send, status, [(b"content-type", _JSON)], told)
            return
        answer = self._answer_for(path)
        if answer is None or (path in OF_THE_CONSOLE and await self._console.has_page(scope)):
            page = await self._console.answer(scope)
            await send_page(send, page)
            return
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{path[:200]} takes GET", allowed="GET")
        status, kind, body = await answer(path, scope)
        await send_whole(send, status, [(b"content-type", kind), *headers_of(path)], body)

    def _flows_at(self, path: str) -> App | None:
        """What begins runs of flows beside the management API."""
        if path == MCP_PATH:
            return self._mcp.answer
        return self._hooks.answer if path.startswith(HOOKS_PREFIX) else None

    def _answer_for(self, path: str) -> Callable[[str, Scope], Awaitable[tuple[int, bytes, bytes]]] | None:
        if path == MODELS_PATH or path.startswith(MODELS_PATH + "/"):
            return self._list_models
        if path in self._well_known.answers:
            return self._tell
        if is_page(path):
            return self._show
        return {"/livez": self._live, "/readyz": self._ready, "/metrics": self._metrics}.get(path)

    async def _list_models(self, path: str, scope: Scope) -> tuple[int, bytes, bytes]:
        caller = await self._authentication.caller(scope)
        return 200, _JSON, self._models.answer(path, caller, anthropic=_is_for_anthropic(scope))

    async def _tell(self, path: str, scope: Scope) -> tuple[int, bytes, bytes]:
        return 200, _JSON, await self._well_known.answers[path]()

    async def _show(self, path: str, scope: Scope) -> tuple[int, bytes, bytes]:
        return 200, *await read_page(path)

    async def _live(self, path: str, scope: Scope) -> tuple[int, bytes, bytes]:
        return 200, _JSON, b'{"live":true}'

    async def _ready(self, path: str, scope: Scope) -> tuple[int, bytes, bytes]:
        status, body = self._operations.ready()
        return status, _JSON, body

    async def _metrics(self, path: str, scope: Scope) -> tuple[int, bytes, bytes]:
        if self._operations.metrics_need_a_scope:
            authorize(await self._authentication.caller(scope), "metrics:read")
        # The model host's follow ours, under the names that Triton has for them.
        rendering = asyncio.to_thread(self._operations.metrics)
        ours, of_models = await asyncio.gather(rendering, self._open_inference.metrics())
        return 200, _METRICS, ours + of_models

    async def _manage(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The management API, behind the key and a limit on the body."""
        state: dict[str, Any] = scope["state"]
        most = FLOW_BODY_BYTES if scope["path"].startswith(FLOWS_PREFIX) else API_BODY_BYTES
        declared_length(first_values(scope["headers"]), most)
        if _is_open(scope["path"]):
            state["origin"] = self._authentication.visitor(scope)
        else:
            state["caller"] = await self._authentication.caller(scope)
        if scope["path"] not in OAUTH_PATHS:
            scope["headers"] = [pair for pair in scope["headers"] if not _is_curls_default(pair)]
        await self._management(scope, _limited(receive, most), send)


def _renderer_for(scope: Scope) -> Callable[[PolyforgeError, str], Rendered]:
    if is_oip(scope["path"]):
        return partial(render_oip, scope["path"])
    return render_anthropic if _is_for_anthropic(scope) else renderer_for(scope["path"])


def _is_for_anthropic(scope: Scope) -> bool:
    """Whether a client of Anthropic's asks for the models, which have the same path in its dialect."""
    path: str = scope["path"]
    if path != MODELS_PATH and not path.startswith(MODELS_PATH + "/"):
        return False
    return header(scope["headers"], _ANTHROPIC_VERSION) is not None


def _is_open(path: str) -> bool:
    """Whether nobody need have signed in: for the ways in themselves, and for what tells how to use them."""
    return path.startswith(OPEN_PREFIX) or path in OPEN_API_PATHS


def _is_curls_default(header: tuple[bytes, bytes]) -> bool:
    """`curl -d` says it sends a form; only OAuth 2's paths take one, so what it sends elsewhere is read as JSON."""
    return header[0] == b"content-type" and header[1].startswith(b"application/x-www-form-urlencoded")


def _with_request_id(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> RawHeaders:
    known = list(headers)
    if not any(name == b"x-request-id" for name, _ in known):
        known.append((b"x-request-id", request_id.encode()))
    return known


def _limited(receive: Receive, most: int) -> Receive:
    """Refuses a body that outgrows the limit without having declared its length."""
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise TooLarge(f"the body has more than {most} bytes")
        return message

    return counted
