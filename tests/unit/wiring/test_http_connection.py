"""The server's side of a connection, over real sockets, byte by byte where that matters."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from uvicorn import Config
from uvicorn.server import ServerState

from polyforge.wiring import http_connection
from polyforge.wiring.http_connection import CONNECTION, HttpConnection
from tests.support.waiting import DEADLINE, eventually_async

App = Callable[[Any, Any, Any], Awaitable[None]]
HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
GET = b"GET /a?b=c HTTP/1.1\r\nhost: x\r\n\r\n"
MOMENT = 1.0
"""Seconds without a byte after which no more is expected."""


async def whole(send: Any, body: bytes = b"hello", status: int = 200) -> None:
    """One answer with its length."""
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read_all(receive: Any) -> bytes:
    """The body of a request."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await read_all(receive)
    await whole(send)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await whole(send, await read_all(receive))


class Site:
    """A listening application."""

    def __init__(self, port: int, state: ServerState) -> None:
        self.port = port
        self.state = state

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, *pieces: bytes, pause: float = 0.0) -> bytes:
        """Send, and read until the server hangs up or has nothing more to say for a moment."""
        reader, writer = await self.connect()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        try:
            return await read_some(reader)
        finally:
            writer.close()


async def read_some(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end, which is marked, or until nothing has come for a moment."""
    got = b""
    while True:
        try:
            async with asyncio.timeout(MOMENT):
                piece = await reader.read(65536)
        except TimeoutError:
            return got
        except ConnectionResetError:
            return got + b"<reset>"
        if not piece:
            return got + b"<end>"
        got += piece


@asynccontextmanager
async def serving(app: App, keep_alive: int = 75) -> AsyncGenerator[Site]:
    """A server on a free port."""
    config = Config(app, interface="asgi3", lifespan="off", log_config=None, timeout_keep_alive=keep_alive)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpConnection(config, state, {}), "127.0.0.1", 0)
    try:
        yield Site(server.sockets[0].getsockname()[1], state)
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_requests_come_in_pieces_of_any_size(size: int) -> None:
    request = b"POST /p HTTP/1.1\r\ncontent-length: 6\r\nx-y: z\r\n\r\nabcdef"
    async with serving(echo) as site:
        pieces = [request[at : at + size] for at in range(0, len(request), size)]
        assert await site.exchange(*pieces) == b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabcdef"


async def test_the_scope() -> None:
    seen: list[Any] = []

    async def note(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await whole(send)

    async with serving(note) as site:
        await site.exchange(b"PUT /a%20b?q=%31&r HTTP/1.1\r\nHost: h\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\n")
        await site.exchange(b"GET http://other:1/abs?q HTTP/1.1\r\n\r\n")
    first, second = seen
    assert (first["method"], first["path"], first["raw_path"]) == ("PUT", "/a b", b"/a%20b")
    assert first["query_string"] == b"q=%31&r"
    assert first["headers"] == [(b"host", b"h"), (b"x-twice", b"1"), (b"x-twice", b"2")]
    assert first["client"][0] == "127.0.0.1"
    assert (second["path"], second["query_string"]) == ("/abs", b"q")


async def test_a_connection_serves_many_requests() -> None:
    async with serving(hello) as site:
        reader, writer = await site.connect()
        for _ in range(3):
            writer.write(GET)
            assert await read_some(reader) == HELLO
        writer.close()
        assert site.state.total_requests == 3


async def test_pipelined_requests_are_answered_in_turn() -> None:
    running = 0

    async def slow_first(scope: Any, receive: Any, send: Any) -> None:
        nonlocal running
        running += 1
        assert running == 1
        body = await read_all(receive)
        await asyncio.sleep(0.05 if body == b"1" else 0)
        running -= 1
        await whole(send, body)

    async with serving(slow_first) as site:
        post = b"POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\n"
        answer = await site.exchange(post + b"1" + post + b"2" + post + b"3")
    assert [part[-1:] for part in answer.split(b"HTTP/1.1 200 OK")[1:]] == [b"1", b"2", b"3"]


async def test_chunks_both_ways() -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        body = await read_all(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for byte in body:
            await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
        await send({"type": "http.response.body"})

    async with serving(stream) as site:
        got = await site.exchange(
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"
        )
        assert got == (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n")
        old = await site.exchange(b"POST / HTTP/1.0\r\ncontent-length: 2\r\n\r\nab")
        assert old == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nab<end>"


async def test_answers_without_a_body() -> None:
    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "HEAD":
            await whole(send)
        else:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    async with serving(nothing) as site:
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
        assert await site.exchange(b"HEAD / HTTP/1.1\r\n\r\n" + GET) == head + b"HTTP/1.1 204 No Content\r\n\r\n"


async def test_a_caller_may_ask_to_close() -> None:
    async with serving(hello) as site:
        got = await site.exchange(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert got == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello<end>"


async def test_a_caller_that_asks_before_it_sends_is_invited_once() -> None:
    async with serving(echo) as site:
        reader, writer = await site.connect()
        writer.write(b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"a")
        await asyncio.sleep(0.05)
        writer.write(b"b")
        assert await read_some(reader) == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"
        writer.close()


UPGRADE = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n"


@pytest.mark.parametrize("size", [1, 50, 10_000])
async def test_an_upgrade_is_ignored(size: int) -> None:
    """Java's client asks for one with each request to an http:// address, with the body behind it."""
    post = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n" + UPGRADE + b"\r\n"
    plain = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n"
    requests = post + b"ab" + b"GET / HTTP/1.1\r\n" + UPGRADE + b"\r\n" + plain + b"cd"
    async with serving(echo) as site:
        got = await site.exchange(*[requests[at : at + size] for at in range(0, len(requests), size)])
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b"
    assert got == answer % (2, b"ab") + answer % (0, b"") + answer % (2, b"cd")


async def test_a_tunnel_is_not_opened() -> None:
    async with serving(echo) as site:
        got = await site.exchange(b"CONNECT example.com:443 HTTP/1.1\r\n\r\n", b"\x16\x03\x01")
    assert got.startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n")
    assert got.endswith(b"<end>")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01",
        b"GET\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nlong: " + b"x" * 70_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + UPGRADE + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + UPGRADE + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\n" + UPGRADE + b"content-length: two\r\n\r\nab",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused(request_bytes: bytes) -> None:
    async with serving(hello) as site:
        got = await site.exchange(request_bytes)
    assert got.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert got.endswith(b"<end>")


async def send_headers(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x: " + b"y" * 1000 + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0)


async def test_an_endless_head_is_refused() -> None:
    async with serving(hello) as site:
        reader, writer = await site.connect()
        writer.write(b"GET / HTTP/1.1\r\n")
        sending = asyncio.create_task(send_headers(writer))
        got = await asyncio.wait_for(read_some(reader), DEADLINE)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert b"431" in got.split(b"\r\n")[0] or got == b"<reset>"
    assert site.state.total_requests == 0


async def test_garbage_after_a_request_does_not_spoil_its_answer() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.05)
        await whole(send)

    async with serving(slow) as site:
        got = await site.exchange(GET + b"garbage\r\n\r\n", GET)
    assert got == HELLO.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + b"<end>"


async def test_broken_chunks_end_the_request_that_they_belong_to() -> None:
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        ended.set()

    async with serving(app) as site:
        got = await site.exchange(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\nnonsense\r\n")
        assert got.startswith(b"HTTP/1.1 400")
        await asyncio.wait_for(ended.wait(), DEADLINE)


async def test_a_broken_application_is_seen_as_such() -> None:
    async def breaks(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/late":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise ValueError("broken")

    async with serving(breaks) as site:
        assert await site.exchange(GET) in (b"<end>", b"<reset>")
        late = await site.exchange(b"GET /late HTTP/1.1\r\n\r\n")
        assert b"\r\n0\r\n\r\n" not in late
        assert late.endswith((b"<end>", b"<reset>"))


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb"])
async def test_no_header_is_injected(value: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", value)]})
        await send({"type": "http.response.body"})

    async with serving(app) as site:
        assert await site.exchange(GET) in (b"<end>", b"<reset>")


@pytest.mark.parametrize("body", [b"hell", b"hello!"])
async def test_a_body_is_as_long_as_declared(body: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": body})

    async with serving(app) as site:
        assert await site.exchange(GET) in (b"<end>", b"<reset>")


async def test_an_early_refusal_reaches_a_caller_that_is_still_sending() -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await whole(send, b"no", 413)

    async with serving(refuse) as site:
        reader, writer = await site.connect()
        writer.write(b"POST / HTTP/1.1\r\ncontent-length: 3000000\r\n\r\n")
        for _ in range(3):
            writer.write(b"x" * 1_000_000)
            await writer.drain()
        writer.write(b"POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 1_000_000)
        got = await read_some(reader)
        writer.close()
    assert got.count(b"HTTP/1.1 413 Request Entity Too Large") == 2 or got.count(b"HTTP/1.1 413") == 2
    assert got.endswith(b"no<end>")


async def test_a_large_body_is_read_as_fast_as_it_is_taken() -> None:
    sizes: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            sizes.append(len(message["body"]))
            await asyncio.sleep(0.001)
            if not message["more_body"]:
                break
        await whole(send, b"%d" % sum(sizes))

    async with serving(app) as site:
        got = await site.exchange(b"POST / HTTP/1.1\r\ncontent-length: 5000000\r\n\r\n", b"x" * 5_000_000)
    assert got.endswith(b"5000000")
    assert max(sizes) < 1_000_000


async def test_the_one_who_works_is_told_when_the_caller_goes() -> None:
    begun, told = asyncio.Event(), asyncio.Event()

    class Watch:
        def gone(self) -> None:
            told.set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"][CONNECTION].presence = Watch()
        begun.set()
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await whole(send)

    async with serving(app) as site:
        _, writer = await site.connect()
        writer.write(GET)
        await asyncio.wait_for(begun.wait(), DEADLINE)
        writer.close()
        await asyncio.wait_for(told.wait(), DEADLINE)
        await eventually_async(lambda: not site.state.tasks)


async def test_the_slow_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "_SEND_SECONDS", 0.2)
    monkeypatch.setattr(http_connection, "_LOOK_SECONDS", 0.05)
    async with serving(echo, keep_alive=1) as site:
        for part in (b"GET / HT", b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nab"):
            reader, writer = await site.connect()
            writer.write(part)
            got = await asyncio.wait_for(reader.read(), DEADLINE)
            assert got.startswith(b"HTTP/1.1 408 Request Timeout"), part
            writer.close()
        reader, writer = await site.connect()
        assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
        writer.close()
        await eventually_async(lambda: not site.state.tasks)


def ask(port: int) -> socket.socket:
    """A connection whose request nobody has read yet."""
    caller = socket.create_connection(("127.0.0.1", port), DEADLINE)
    caller.setblocking(False)
    return caller


async def test_a_caller_that_does_not_read_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "_SEND_SECONDS", 0.3)
    sent = 0

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not scope["state"][CONNECTION].lost:
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            sent += 100_000

    async with serving(endless) as site:
        _, writer = await site.connect()
        writer.write(GET)
        await eventually_async(lambda: sent and not site.state.tasks)
        # What the system holds for both of them, and no more.
        assert sent <= 20_000_000
        writer.close()


async def test_shutting_down() -> None:
    go_on = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await read_all(receive)
        await go_on.wait()
        await whole(send)

    async with serving(slow) as site:
        idle, idle_writer = await site.connect()
        busy, busy_writer = await site.connect()
        await eventually_async(lambda: len(site.state.connections) == 2)
        busy_writer.write(GET[:-2])
        await asyncio.sleep(0.05)
        busy_writer.write(GET[-2:])
        await eventually_async(lambda: site.state.tasks)
        for connection in list(site.state.connections):
            connection.shutdown()
        assert await asyncio.wait_for(idle.read(), DEADLINE) == b""
        go_on.set()
        assert b"connection: close" in await asyncio.wait_for(busy.read(), DEADLINE)
        await eventually_async(lambda: not site.state.connections and not site.state.tasks)
        for writer in (idle_writer, busy_writer):
            writer.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_request_that_came_before_the_end_is_answered(loop: Callable[[], Any]) -> None:
    """Browsers do not ask again on a connection that was closed before it was used."""

    async def end() -> None:
        async with serving(hello) as site:
            callers = [ask(site.port) for _ in range(20)]
            await eventually_async(lambda: len(site.state.connections) == len(callers))
            for caller in callers:
                caller.sendall(GET)
            for connection in list(site.state.connections):
                connection.shutdown()
            for caller in callers:
                reader, writer = await asyncio.open_connection(sock=caller)
                got = await asyncio.wait_for(reader.read(), DEADLINE)
                assert got.startswith(b"HTTP/1.1 200 OK")
                assert b"connection: close" in got
                writer.close()
            await eventually_async(lambda: not site.state.connections and not site.state.tasks)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(end())
