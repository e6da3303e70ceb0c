"""POST /mcp: flows as tools of agents, by the Model Context Protocol over streamable HTTP.

There are no sessions, so any worker answers any request. A call is answered as JSON; as server-sent events where its
client wants to know how far it is, or it takes long.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final, cast
from urllib.parse import urlsplit

from polyforge import __version__
from polyforge.dialects.mcp import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    McpError,
    Request,
    called,
    decode,
    discovered,
    encode_error,
    encode_progress,
    encode_result,
    frame_of,
    initialized,
    listed,
    status_of,
)
from polyforge.flows.publishing.tools import FlowTools, Listener
from polyforge.kernel.errors import Denied, Invalid, MethodNotAllowed, NotFound, PolyforgeError
from polyforge.server.authentication import Authentication
from polyforge.server.http import HeaderMap, Receive, Scope, Send, declared_length, first_values, read_body, send_whole
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.policy import authorize

PATH: Final = "/mcp"
BODY_BYTES: Final = 1024 * 1024
KEEP_ALIVE_SECONDS: Final = 15.0
MOST_NOTES: Final = 100
"""Words on progress that wait to be sent; more are left out, as the next says more."""
INSTRUCTIONS: Final = "Each tool is a flow that somebody published. A call runs it as you, and costs what it costs."
_INTERNAL: Final = -32603
_LONGEST_NAME: Final = 200
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_JSON: Final = b"application/json"
_EVENTS: Final = b"text/event-stream"
_STREAM_HEADERS: Final = ((b"content-type", _EVENTS), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
_STILL_THERE: Final = b": still there\n\n"
_log = get_logger(__name__)
Outcome = tuple[int, bytes]
"""Status and body of an answer."""


class Mcp:
    """The server of the protocol. `address` is our public one."""

    def __init__(self, tools: FlowTools, authentication: Authentication, address: str) -> None:
        self._tools = tools
        self._authentication = authentication
        parts = urlsplit(address)
        self._site = f"{parts.scheme}://{parts.netloc}".lower()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; Denied for pages of other sites, and for callers who may not run flows."""
        headers = first_values(scope["headers"])
        self._refuse_other_sites(headers)
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{PATH} takes POST; there are no streams of the server's own", allowed="POST")
        caller = await self._authentication.caller(scope)
        authorize(caller, "flows:run")
        declared_length(headers, BODY_BYTES)
        body = await read_body(receive, BODY_BYTES)
        try:
            events = _accepts(headers)
            request = decode(body, headers)
        except McpError as error:
            await _send_json(send, (error.status, encode_error(error)))
            return
        if not request.expects_answer:
            await send_whole(send, 202, [], b"")
            return
        exchange = _Exchange(request, receive, send, events=events)
        await exchange.run(self._outcome(request, caller, exchange))

    def drain(self) -> None:
        """Let calls that wait for their runs answer now."""
        self._tools.drain()

    async def _outcome(self, request: Request, caller: Caller, listener: Listener) -> Outcome:
        try:
            result = await self._result(request, caller, listener)
        except McpError as error:
            error.id = request.id
            return status_of(error, request), encode_error(error)
        except PolyforgeError as error:
            refusal = McpError(
                INVALID_PARAMS if isinstance(error, Invalid) else _INTERNAL, error.message, id=request.id
            )
            return status_of(refusal, request), encode_error(refusal)
        except Exception:  # noqa: BLE001 - whatever it was, the client gets an answer to its request
            _log.exception("a request of MCP failed", method=request.method[:_LONGEST_NAME])
            return 200, encode_error(McpError(_INTERNAL, "something went wrong on our side", id=request.id))
        return 200, encode_result(request, result, __version__)

    async def _result(self, request: Request, caller: Caller, listener: Listener) -> Mapping[str, Any]:
        match request.method:
            case "initialize":
                return initialized(request, __version__, INSTRUCTIONS)
            case "server/discover" if request.enveloped:
                return discovered(INSTRUCTIONS)
            case "ping":
                return {}
            case "tools/list":
                return await self._list(request, caller)
            case "tools/call":
                return await self._call(request, caller, listener)
            case other:
                raise McpError(METHOD_NOT_FOUND, f"there is no method {other[:_LONGEST_NAME]!r} here")

    async def _list(self, request: Request, caller: Caller) -> Mapping[str, Any]:
        cursor: Any = request.params.get("cursor")
        if cursor is not None and not isinstance(cursor, str):
            raise McpError(INVALID_PARAMS, "cursor: is not one that a list gave")
        tools, following = await self._tools.page(caller, cursor)
        return listed(tools, following, request)

    async def _call(self, request: Request, caller: Caller, listener: Listener) -> Mapping[str, Any]:
        name: Any = request.params.get("name")
        arguments: Any = request.params.get("arguments")
        if not isinstance(name, str) or not isinstance(arguments, dict | None):
            raise McpError(INVALID_PARAMS, "tools/call takes name, a text, and arguments, an object")
        try:
            version = await self._tools.find(caller, name)
        except NotFound:
            raise McpError(INVALID_PARAMS, f"Unknown tool: {name[:_LONGEST_NAME]}") from None
        given = cast("dict[str, Any]", arguments or {})
        answer = await self._tools.call(caller, version, given, listener)
        return called(answer.text, answer.structured, failed=answer.failed)

    def _refuse_other_sites(self, headers: HeaderMap) -> None:
        """Denied for a page of another site, also of one whose name was made to lead to this machine."""
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if not origin or origin == self._site:
            return
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if _host_of(origin) in _LOOPBACK and _host_of(f"//{host}") in _LOOPBACK:
            return
        raise Denied("this request comes from a page of another site")


class _Exchange:
    """One request on its way to its answer: words on progress go out while it runs, and its end where nobody waits."""

    def __init__(self, request: Request, receive: Receive, send: Send, *, events: bool) -> None:
        self._request = request
        self._receive = receive
        self._send = send
        self._events = events
        self._notes: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._begun = False
        self._gone = False

    @property
    def left(self) -> bool:
        """Whether the client has hung up, where that means that it wants no more."""
        return self._gone and self._request.enveloped

    def report(self, done: float, total: float | None, message: str) -> None:
        """Tell how far it is, to a client that asked for it."""
        token = self._request.progress_token
        if token is not None and self._events and self._notes.qsize() < MOST_NOTES:
            self._notes.put_nowait(frame_of(encode_progress(token, done, total, message)))

    async def run(self, work: Coroutine[Any, Any, Outcome]) -> None:
        """Do it, and send what comes of it."""
        working = asyncio.create_task(work, name="mcp request")
        watching = asyncio.create_task(self._watch(working), name="mcp client")
        working.add_done_callback(lambda _: self._notes.put_nowait(None))
        try:
            await self._send_notes()
            if not working.cancelled():
                await self._finish(working.result())
        finally:
            watching.cancel()
            working.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)

    async def _send_notes(self) -> None:
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                    note = await self._notes.get()
            except TimeoutError:
                note = _STILL_THERE
            if note is None:
                return
            if self._events:
                await self._begin()
                await self._send({"type": "http.response.body", "body": note, "more_body": True})

    async def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": list(_STREAM_HEADERS)})

    async def _finish(self, outcome: Outcome) -> None:
        if self._begun:
            await self._send({"type": "http.response.body", "body": frame_of(outcome[1]), "more_body": False})
        else:
            await _send_json(self._send, outcome)

    async def _watch(self, working: asyncio.Task[Outcome]) -> None:
        """End the work when the client has hung up."""
        while (await self._receive())["type"] != "http.disconnect":
            continue
        self._gone = True
        working.cancel()


async def _send_json(send: Send, outcome: Outcome) -> None:
    status, body = outcome
    await send_whole(send, status, [(b"content-type", _JSON)], body)


def _accepts(headers: HeaderMap) -> bool:
    """Whether the client takes events; McpError for what it sends, or takes, that is not spoken."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != _JSON:
        raise McpError(INVALID_REQUEST, "send the message as application/json", status=415)
    accepted = {each.partition(b";")[0].strip().lower() for each in headers.get(b"accept", b"*/*").split(b",")}
    if not accepted & {_JSON, b"application/*", b"*/*"}:
        raise McpError(INVALID_REQUEST, "accept application/json and text/event-stream", status=406)
    return bool(accepted & {_EVENTS, b"text/*", b"*/*"})


def _host_of(address: str) -> str | None:
    with suppress(ValueError):
        return urlsplit(address).hostname
    return None
