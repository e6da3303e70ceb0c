"""A scripted upstream: a real server that speaks OpenAI's wire format on a loopback port, and misbehaves when told to.

It runs in a thread with an event loop of its own. Tests choose its behaviour by the name of the model:

    upstream.script("flaky", Fail(500), Answer("hello"))    # one after the other; the last one stays
    upstream.wait_for("flaky", 2)                           # the requests that came
"""

import asyncio
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal, cast

import httptools

from tests.support.behaviours import Answer, Behaviour
from tests.support.ports import LOOPBACK
from tests.support.waiting import DEADLINE

Stage = Literal["waiting", "head", "body", "done"]
_STATUSES = frozenset(HTTPStatus)
MODELS = "/v1/models"
"""The name under which the list of models is scripted."""


class Received:
    """One request that came, and what became of it."""

    def __init__(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.method = method
        self.path = path
        self.all_headers = headers
        self.headers = dict(headers)
        self.body = body
        self.json: dict[str, Any] = _parse(body)
        self.model: str = MODELS if path == MODELS else str(self.json.get("model"))
        self.at = time.monotonic()
        self.stage: Stage = "waiting"
        self.sent = 0
        """Bytes of the body that were sent."""
        self.aborted_at: float | None = None
        self.aborted_in: Stage | None = None
        """How far the answer was when the caller hung up; None when it did not."""
        self._over = threading.Event()

    @property
    def aborted(self) -> bool:
        """Whether the caller hung up before the answer was complete."""
        return self.aborted_in is not None

    def wait_over(self, deadline: float = DEADLINE) -> None:
        """Return once the exchange is over, one way or another."""
        assert self._over.wait(deadline), f"the upstream call for {self.model!r} was still open after {deadline:g} s"

    def wait_aborted(self, deadline: float = DEADLINE) -> None:
        """Return once the caller has hung up; AssertionError when the exchange ends otherwise."""
        self.wait_over(deadline)
        assert self.aborted, f"the upstream call for {self.model!r} ended without the caller hanging up"

    def over(self, lost: bool) -> None:
        """Note the end of the exchange."""
        if lost and not self._over.is_set():
            self.aborted_at = time.monotonic()
            self.aborted_in = self.stage
        self._over.set()

    def __repr__(self) -> str:
        return f"<{self.method} {self.path} {self.model} {self.stage}{' aborted' if self.aborted else ''}>"


class Upstream:
    """The server. `start()` binds a free port; `stop()` hangs up on everyone."""

    def __init__(self, api_key: str | None = None, *, remembers: bool = True) -> None:
        self.api_key = api_key
        """When set, requests without this bearer key get 401."""
        self._remembers = remembers
        """Whether requests are kept, or only counted because there are too many."""
        self.models: list[str] = ["gpt-upstream", "llama-upstream"]
        self._scripts: dict[str, list[Behaviour]] = {}
        self._received: list[Received] = []
        self._counts: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._connections: set[_Connection] = set()
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)
        self._started = threading.Event()
        self._stopping: asyncio.Event | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL, with /v1, as providers take it."""
        return f"http://{LOOPBACK}:{self.port}/v1"

    def start(self) -> "Upstream":
        """Listen."""
        self._thread.start()
        self._started.wait()
        return self

    def stop(self) -> None:
        """Hang up on everyone and let go of the port."""
        if self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def script(self, model: str, *behaviours: Behaviour) -> None:
        """What the next requests for `model` get, in order; the last one stays."""
        with self._changed:
            self._scripts[model] = list(behaviours)

    def unscript(self) -> None:
        """Answer every model as one that nobody scripted."""
        with self._changed:
            self._scripts.clear()

    def requests(self, model: str | None = None) -> list[Received]:
        """The requests that came so far, for one model or all."""
        with self._changed:
            return [request for request in self._received if model is None or request.model == model]

    def wait_for(self, model: str, count: int = 1, deadline: float = DEADLINE) -> list[Received]:
        """The requests for `model`, once there are `count`."""
        with self._changed:
            came = self._changed.wait_for(lambda: self._counts[model] >= count, deadline)
        assert came, f"{len(self.requests(model))} of {count} requests for {model!r} came within {deadline:g} s"
        return self.requests(model)

    def note(self, request: Received) -> Behaviour:
        """Write `request` down and choose how to answer it."""
        with self._changed:
            if self._remembers:
                self._received.append(request)
            self._counts[request.model] += 1
            self._changed.notify_all()
            script = self._scripts.get(request.model)
            if not script:
                return Answer()
            return script.pop(0) if len(script) > 1 else script[0]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        server = await self._loop.create_server(lambda: _Connection(self, self._connections), LOOPBACK, 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopping.wait()
        server.close()
        ending = [connection.hang_up() for connection in list(self._connections)]
        await asyncio.gather(*ending, return_exceptions=True)
        await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One connection: requests one after the other, each answered by a task."""

    def __init__(self, upstream: Upstream, connections: "set[_Connection]") -> None:
        self._upstream = upstream
        self._connections = connections
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._lost.set()
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            assert self._transport is not None
            self._transport.close()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._body = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        request = Received(method, self._url.decode("latin-1"), self._headers, b"".join(self._body))
        self._task = asyncio.get_running_loop().create_task(self._answer(request, self._task))

    async def hang_up(self) -> None:
        """Close, and wait until that is done."""
        if self._transport is not None:
            self._transport.abort()
        await self._lost.wait()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _answer(self, request: Received, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        assert self._transport is not None
        exchange = _Exchange(self._transport, request, self._writable, self._lost)
        lost = True
        try:
            await self._play(self._upstream.note(request), exchange)
            lost = False
        except ConnectionResetError:
            self._transport.abort()
        except Exception:
            self._transport.abort()
            raise
        finally:
            request.over(lost and not exchange.ours)

    async def _play(self, behaviour: Behaviour, exchange: "_Exchange") -> None:
        key = self._upstream.api_key
        if key is not None and exchange.request.headers.get("authorization") != f"Bearer {key}":
            await exchange.json_body(
                401, {"error": {"message": "bad key", "type": "x", "param": None, "code": "invalid"}}
            )
        elif exchange.request.model == MODELS and isinstance(behaviour, Answer):
            names = self._upstream.models
            rows = [{"id": name, "object": "model", "created": 1, "owned_by": "upstream"} for name in names]
            await exchange.json_body(200, {"object": "list", "data": rows})
        else:
            await behaviour.play(exchange)


class _Exchange:
    """What a behaviour sees of one request."""

    def __init__(
        self, transport: asyncio.Transport, request: Received, writable: asyncio.Event, lost: asyncio.Event
    ) -> None:
        self._transport = transport
        self.request = request
        self.path = request.path
        self.json = request.json
        self.ours = False
        """Whether it was this side that broke the connection off."""
        self._writable = writable
        self._lost = lost
        self._chunked = False

    async def json_body(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        await self.head(status, {"content-type": "application/json"}, len(body))
        await self.body(body)
        await self.end()

    async def head(self, status: int, headers: Mapping[str, str], length: int | None) -> None:
        self._chunked = length is None
        framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        phrase = HTTPStatus(status).phrase if status in _STATUSES else "Unheard Of"
        lines = [f"HTTP/1.1 {status} {phrase}", framing]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await self.raw("\r\n".join([*lines, "", ""]).encode("latin-1"))
        self.request.stage = "head"

    async def body(self, data: bytes) -> None:
        if not data:
            return
        self.request.stage = "body"
        self.request.sent += len(data)
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end(self) -> None:
        self.request.stage = "done"
        if self._chunked:
            await self.raw(b"0\r\n\r\n")

    async def raw(self, data: bytes) -> None:
        if self._lost.is_set():
            raise ConnectionResetError("the caller hung up")
        self._transport.write(data)
        await self._writable.wait()

    def close(self) -> None:
        self.ours = True
        self._transport.close()

    def reset(self) -> None:
        self.ours = True
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def _parse(body: bytes) -> dict[str, Any]:
    try:
        content: object = json.loads(body)
    except ValueError:
        return {}
    return cast(dict[str, Any], content) if isinstance(content, dict) else {}
