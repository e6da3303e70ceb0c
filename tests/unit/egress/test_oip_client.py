"""The client for model servers on a Unix socket, against a server that does what a test scripts."""

import asyncio
import json
import select
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from polyforge.dialects import oip
from polyforge.egress.oip_client import OipClient
from polyforge.kernel.errors import (
    BrokenOff,
    Invalid,
    ModelNotFound,
    PolyforgeError,
    TimedOut,
    Unavailable,
    UpstreamFailed,
)
from polyforge.kernel.tensors import Tensor
from tests.support.waiting import eventually_async

REQUEST = oip.encode_request([Tensor("x", "UINT8", (2,), b"ab")], request_id="r")
SECONDS = 20.0

Handler = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]


def http(body: bytes, status: int = 200, **headers: str) -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n"
    return (
        head.encode()
        + b"".join(f"{k.replace('_', '-')}: {v}\r\n".encode() for k, v in headers.items())
        + b"\r\n"
        + body
    )


def answer() -> bytes:
    sent = oip.encode_response("m", "1", oip.InferRequest({}, binary=True), [Tensor("y", "UINT8", (2,), b"cd")])
    return http(sent.join(), inference_header_content_length=str(sent.header_length))


async def good(writer: asyncio.StreamWriter, body: bytes) -> None:
    del body
    writer.write(answer())


class Server:
    """Reads whole requests and hands each to `handle`; counts what it sees."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.handle: Handler = good
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.requests: list[tuple[str, bytes]] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().split("content-length: ")[-1].split("\r\n")[0])
                body = await reader.readexactly(length)
                self.requests.append((head.split("\r\n")[0], body))
                await self.handle(writer, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path / "s")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[OipClient]:
    client = OipClient(server.path, max_connections=2, max_response_bytes=10_000)
    yield client
    await client.close()


async def infer(client: OipClient, seconds: float = SECONDS) -> bytes:
    response = await client.infer("team/m", REQUEST, seconds=seconds)
    return bytes(response.outputs["y"].data)


async def test_calls_share_a_connection(client: OipClient, server: Server) -> None:
    assert [await infer(client) for _ in range(3)] == [b"cd"] * 3
    assert server.connections == 1
    assert server.requests[0] == ("POST /v2/models/team%2Fm/infer HTTP/1.1", REQUEST.join())


async def test_no_more_connections_than_allowed(client: OipClient, server: Server) -> None:
    async def slow(writer: asyncio.StreamWriter, body: bytes) -> None:
        await asyncio.sleep(0.001)
        await good(writer, body)

    server.handle = slow
    assert await asyncio.gather(*(infer(client) for _ in range(30))) == [b"cd"] * 30
    assert server.most_open <= 2


async def test_a_split_answer_is_put_together(client: OipClient, server: Server) -> None:
    async def dribble(writer: asyncio.StreamWriter, body: bytes) -> None:
        del body
        for byte in answer():
            writer.write(bytes([byte]))
            await writer.drain()

    server.handle = dribble
    assert await infer(client) == b"cd"


async def test_nobody_listening_is_unavailable_for_now(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as refusal:
        await infer(OipClient(str(tmp_path / "nothing")))
    assert refusal.value.retry_after
    assert str(tmp_path) not in refusal.value.message


async def test_a_kept_connection_that_was_closed_is_replaced(client: OipClient, server: Server) -> None:
    await infer(client)
    await server.stop()
    await server.start()
    assert await infer(client) == b"cd"


async def test_a_call_on_a_kept_connection_that_nobody_read_is_sent_once_more(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        server = threading.Thread(target=answer_leave_unread_answer, args=(listener,))
        server.start()
        client = OipClient(str(tmp_path / "s"), max_connections=1)
        assert [await infer(client) for _ in range(2)] == [b"cd"] * 2
        await client.close()
        await asyncio.to_thread(server.join)


def answer_leave_unread_answer(listener: socket.socket) -> None:
    """Answer a request, hang up with the next one unread, and answer what then comes."""
    listener.settimeout(SECONDS)
    for _ in range(2):
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(SECONDS)
            connection.recv(65_536)
            connection.sendall(answer())
            select.select([connection], [], [], SECONDS)


@pytest.mark.parametrize("warm", [False, True])
async def test_a_server_that_always_hangs_up_is_unavailable(client: OipClient, server: Server, warm: bool) -> None:
    if warm:
        await infer(client)

    async def hang_up(writer: asyncio.StreamWriter, body: bytes) -> None:
        del body
        writer.transport.abort()
        raise ConnectionError

    server.handle = hang_up
    seen = len(server.requests)
    with pytest.raises(BrokenOff, match="before it answered"):
        await infer(client)
    # Our own host may have ended of the request: it does not get it again.
    assert len(server.requests) == seen + 1


async def test_an_answer_that_is_cut_off_is_not_asked_for_again(client: OipClient, server: Server) -> None:
    await infer(client)

    async def cut(writer: asyncio.StreamWriter, body: bytes) -> None:
        del body
        writer.write(answer()[:-1])
        await writer.drain()
        writer.close()
        raise ConnectionError

    server.handle = cut
    with pytest.raises(BrokenOff, match="in the middle"):
        await infer(client)
    assert len(server.requests) == 2


async def silent(writer: asyncio.StreamWriter, body: bytes) -> None:
    del writer, body


async def test_a_silent_server_times_out_and_is_hung_up_on(client: OipClient, server: Server) -> None:
    server.handle = silent
    with pytest.raises(TimedOut):
        await infer(client, seconds=0.05)
    await eventually_async(lambda: server.open == 0, "the connection is closed")
    server.handle = good
    assert await infer(client) == b"cd"


async def test_cancelling_a_call_closes_its_connection(client: OipClient, server: Server) -> None:
    server.handle = silent
    calls = [asyncio.create_task(infer(client)) for _ in range(5)]
    await eventually_async(lambda: len(server.requests) == 2, "two calls are on their way, three wait for their turn")
    for call in reversed(calls):
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await eventually_async(lambda: server.open == 0, "the connections are closed")
    server.handle = good
    assert await asyncio.gather(*(infer(client) for _ in range(4))) == [b"cd"] * 4


@pytest.mark.parametrize(
    ("reply", "error", "param"),
    [
        (http(b'{"error":"no"}', 400, x_polyforge_param="dimensions"), Invalid, "dimensions"),
        (http(b'{"error":"no"}', 404), ModelNotFound, "model"),
        (http(b'{"error":"no"}', 503, retry_after="7"), Unavailable, None),
        (http(b'{"error":"no"}', 503, x_polyforge_broken_off="true"), BrokenOff, None),
        (http(b'{"error":"no"}', 504), TimedOut, None),
        (http(b'{"error":"no"}', 500), UpstreamFailed, None),
        (http(b"<html>no</html>", 302), UpstreamFailed, None),
    ],
)
async def test_errors_keep_their_meaning(
    client: OipClient, server: Server, reply: bytes, error: type[PolyforgeError], param: str | None
) -> None:
    async def refuse(writer: asyncio.StreamWriter, body: bytes) -> None:
        del body
        writer.write(reply)

    server.handle = refuse
    refusals: list[PolyforgeError] = []
    for _ in range(3):
        with pytest.raises(error, match="no") as refusal:
            await infer(client)
        refusals.append(refusal.value)
    assert refusals[-1].param == param
    assert refusals[-1].retry_after == (7 if error is Unavailable else None)
    assert server.connections == 1


@pytest.mark.parametrize(
    "reply",
    [
        b"220 mail.example ESMTP\r\n",
        http(b"hello"),
        http(b"{}"),
        http(b"{}", inference_header_content_length="3"),
        http(b'{"model_name":"m","outputs":[]}' + b" " * 10_001),
        http(json.dumps({"model_name": "m", "outputs": [{"name": "y"}]}).encode()),
    ],
)
async def test_an_answer_that_is_none_is_the_upstreams_failure(client: OipClient, server: Server, reply: bytes) -> None:
    async def nonsense(writer: asyncio.StreamWriter, body: bytes) -> None:
        del body
        writer.write(reply)

    server.handle = nonsense
    with pytest.raises(UpstreamFailed):
        await infer(client)
    server.handle = good
    assert await infer(client) == b"cd"


async def test_a_server_that_closes_after_each_answer_is_served_as_well(client: OipClient, server: Server) -> None:
    async def close(writer: asyncio.StreamWriter, body: bytes) -> None:
        del body
        writer.write(answer().replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        await writer.drain()
        raise ConnectionError

    server.handle = close
    assert [await infer(client) for _ in range(3)] == [b"cd"] * 3
    assert server.connections == 3


async def test_the_index_lists_models(client: OipClient, server: Server) -> None:
    async def index(writer: asyncio.StreamWriter, body: bytes) -> None:
        del body
        writer.write(http(b'[{"name":"a","state":"READY","more":1},{"name":"b"}]'))

    server.handle = index
    entries = await client.index(seconds=SECONDS)
    assert [(entry.name, entry.state) for entry in entries] == [("a", "READY"), ("b", "")]
