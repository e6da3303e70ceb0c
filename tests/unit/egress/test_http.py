"""The client toward upstreams, against a server that writes exactly the bytes it is told to."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer, ConnectionBroken, HttpClient
from polyforge.kernel.errors import SettingsError, TimedOut, Unavailable, UpstreamFailed
from tests.support.waiting import eventually_async

Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LIMIT = 1_000_000


class Upstream:
    """Reads one request at a time and plays the script; counts connections."""

    def __init__(self) -> None:
        self.play: Play = self.nothing
        self.requests: list[bytes] = []
        self.connections = 0
        self.hung_up = asyncio.Event()
        self.port = 0

    async def nothing(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer never."""
        await reader.read()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                self.requests.append(head + await reader.readexactly(length))
                await self.play(reader, writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        finally:
            writer.close()

    def says(self, *pieces: bytes, close: bool = False, pause: float = 0.0) -> None:
        """Answer every request with these bytes."""

        async def play(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
            if close:
                writer.close()

        self.play = play


@pytest.fixture
async def upstream() -> AsyncGenerator[Upstream]:
    one = Upstream()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    yield one
    server.close()


@pytest.fixture
async def client(upstream: Upstream) -> AsyncGenerator[HttpClient]:
    one = HttpClient(f"http://127.0.0.1:{upstream.port}/v1", {"authorization": "Bearer x"}, 0.5, 2)
    yield one
    await one.close()


async def ask(client: HttpClient, body: bytes = b"{}", limit: int = LIMIT) -> tuple[int, bytes]:
    answer = client.post("/chat", body, {})
    try:
        await answer.open()
        return answer.status, await answer.body(limit)
    finally:
        await answer.close()


async def test_a_request_is_what_was_asked_for(client: HttpClient, upstream: Upstream) -> None:
    upstream.says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert await ask(client, b'{"a":1}') == (200, b"ok")
    assert upstream.requests[0].startswith(b"POST /v1/chat HTTP/1.1\r\n")
    assert b"authorization: Bearer x\r\n" in upstream.requests[0]
    assert upstream.requests[0].endswith(b'content-length: 7\r\n\r\n{"a":1}')


async def test_connections_are_kept(client: HttpClient, upstream: Upstream) -> None:
    upstream.says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    for _ in range(3):
        assert await ask(client) == (200, b"ok")
    assert upstream.connections == 1


async def test_a_kept_connection_that_dies_unanswered_is_tried_once_more(
    client: HttpClient, upstream: Upstream
) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

    async def play(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(upstream.requests) == 2:
            writer.transport.abort()
        else:
            writer.write(answer)

    upstream.play = play
    assert [await ask(client) for _ in range(2)] == [(200, b"ok")] * 2
    assert (len(upstream.requests), upstream.connections) == (3, 2)


async def test_informational_answers_are_passed_over(client: HttpClient, upstream: Upstream) -> None:
    upstream.says(
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", pause=0.01
    )
    assert await ask(client) == (200, b"ok")


async def test_a_body_without_length_ends_with_the_connection(client: HttpClient, upstream: Upstream) -> None:
    upstream.says(b"HTTP/1.1 200 OK\r\n\r\n", b"one ", b"two", close=True)
    assert await ask(client) == (200, b"one two")


@pytest.mark.parametrize(
    "pieces",
    [
        (b"",),
        (b"HTTP/1.1 200 OK\r\ncontent-le",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",),
    ],
)
async def test_an_answer_that_breaks_off_is_an_error(
    client: HttpClient, upstream: Upstream, pieces: tuple[bytes, ...]
) -> None:
    upstream.says(*pieces, close=True)
    with pytest.raises(ConnectionBroken):
        await ask(client)


@pytest.mark.parametrize(
    "head",
    [
        b"ICAP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000 + b"\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_what_is_no_usable_answer_is_an_error(client: HttpClient, upstream: Upstream, head: bytes) -> None:
    upstream.says(head)
    with pytest.raises(UpstreamFailed):
        await ask(client)


async def test_a_body_over_the_limit_is_refused_and_hung_up_on(client: HttpClient, upstream: Upstream) -> None:
    upstream.says(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n", *[b"x" * 65_536] * 40)
    with pytest.raises(UpstreamFailed, match="larger than 1000000 bytes"):
        await ask(client)
    await asyncio.wait_for(upstream.hung_up.wait(), 60)


async def test_a_reader_that_takes_its_time_holds_the_sender_back(client: HttpClient, upstream: Upstream) -> None:
    size = 8 * 1024 * 1024
    upstream.says(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size, *[b"x" * 65_536] * (size // 65_536))
    answer = client.get("/slow")
    await answer.open()
    largest = total = 0
    while (chunk := await answer.chunk()) is not None:
        largest = max(largest, len(chunk))
        total += len(chunk)
        await asyncio.sleep(0)
    await answer.close()
    assert total == size
    assert largest < 1024 * 1024


async def test_chunks_come_as_they_are_sent(client: HttpClient, upstream: Upstream) -> None:
    gate = asyncio.Event()

    async def play(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await gate.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    upstream.play = play
    answer = client.get("/stream")
    await answer.open()
    assert await answer.chunk() == b"one"
    gate.set()
    assert await answer.chunk() == b"two"
    assert await answer.chunk() is None
    await answer.close()


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"])
async def test_cancelling_hangs_up(client: HttpClient, upstream: Upstream, head: bytes) -> None:
    upstream.says(head, pause=0.01)
    task = asyncio.create_task(ask(client))
    await eventually_async(lambda: bool(upstream.requests), "a request")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(upstream.hung_up.wait(), 60)


async def test_a_deadline_ends_the_wait_and_only_that(client: HttpClient, upstream: Upstream) -> None:
    with pytest.raises(TimedOut, match="too slow"), Deadline(Deadline.now() + 0.05, "too slow"):
        await ask(client)
    upstream.says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    with Deadline(Deadline.now() + 5, "too slow"):
        assert await ask(client) == (200, b"ok")


async def test_every_connection_in_use_is_told(client: HttpClient, upstream: Upstream) -> None:
    waiting = [asyncio.create_task(ask(client)) for _ in range(2)]
    await eventually_async(lambda: len(upstream.requests) == 2, "two requests")
    with pytest.raises(Unavailable, match="in use"):
        await ask(client)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    upstream.says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert await ask(client) == (200, b"ok")


async def test_nobody_there() -> None:
    client = HttpClient("http://127.0.0.1:9", {}, 0.5, 1)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await ask(client)


async def test_an_unread_answer_is_not_taken_for_the_next_one(client: HttpClient, upstream: Upstream) -> None:
    upstream.says(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst")
    unread: Answer = client.get("/a")
    await unread.open()
    await unread.close()
    upstream.says(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond")
    assert await ask(client) == (200, b"second")


async def test_credentials_change_between_calls_and_can_be_others_for_one(upstream: Upstream) -> None:
    client = HttpClient(f"http://127.0.0.1:{upstream.port}", {"x-plain": "kept"}, 0.5, 2)
    upstream.says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async def sent(credentials: dict[str, str] | None = None) -> bytes:
        answer = client.post("/chat", b"{}", {"traceparent": "00"}, credentials)
        await answer.open()
        await answer.body(LIMIT)
        await answer.close()
        assert b"x-plain: kept\r\n" in upstream.requests[-1]
        assert b"traceparent: 00\r\n" in upstream.requests[-1]
        return upstream.requests[-1]

    assert b"authorization" not in await sent()
    client.authorize({"authorization": "Bearer first", "x-account": "ours"})
    assert b"authorization: Bearer first\r\nx-account: ours\r\n" in await sent()
    other = await sent({"authorization": "Bearer other"})
    assert b"authorization: Bearer other\r\n" in other
    assert b"first" not in other
    assert b"ours" not in other
    assert b"Bearer first" in await sent()
    client.authorize({"authorization": "Bearer second"})
    assert b"Bearer second" in await sent()
    assert b"first" not in await sent()
    await client.close()


@pytest.mark.parametrize("headers", [{"x": "a\r\nevil: 1"}, {"x\n": "a"}, {"": "a"}, {"x": "a\0"}, {"x": "ключ"}])
def test_headers_cannot_smuggle(headers: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as refused:
        HttpClient("http://127.0.0.1:9", headers, 1, 1)
    assert "ключ" not in f"{refused.value!r} {refused.value.__cause__!r}"


@pytest.mark.parametrize("url", ["ftp://x", "http://", "x", ""])
def test_only_http_addresses(url: str) -> None:
    with pytest.raises(SettingsError):
        HttpClient(url, {}, 1, 1)
