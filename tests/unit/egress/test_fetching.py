"""One call to an address that somebody wrote down."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from polyforge.egress.fetching import Fetched, fetch
from polyforge.egress.guarding import Guard
from polyforge.kernel.errors import Denied, Invalid, TimedOut, TooLarge, Unavailable, UpstreamFailed

LOCAL = Guard(["127.0.0.0/8"])


class Server:
    """Says the same to everybody, and writes down what it heard."""

    def __init__(self) -> None:
        self.says = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-A: 1\r\nx-a: 2\r\n\r\nok"
        self.heard: list[bytes] = []
        self.silent = False
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heard.append(head)
            if self.silent:
                await reader.read()
            writer.write(self.says)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    one = Server()
    listening = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = listening.sockets[0].getsockname()[1]
    yield one
    listening.close()


async def ask(url: str, guard: Guard = LOCAL, method: str = "GET", most: int = 1_000, seconds: float = 30) -> Fetched:
    return await fetch(guard, method, url, {"x-b": "3"}, None, timeout_seconds=seconds, max_bytes=most)


async def test_the_answer_comes_with_its_headers(server: Server) -> None:
    found = await ask(f"http://127.0.0.1:{server.port}/a%20b?c=d")
    assert found == Fetched(200, {"content-length": "2", "x-a": "1, 2"}, b"ok")
    assert server.heard[0].startswith(b"GET /a%20b?c=d HTTP/1.1\r\n")
    assert b"\r\nx-b: 3\r\n" in server.heard[0]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST"])
async def test_bodies_are_sent_with_any_method(server: Server, method: str) -> None:
    url = f"http://127.0.0.1:{server.port}"
    await fetch(LOCAL, method, url, {}, b"", timeout_seconds=30, max_bytes=10)
    assert server.heard[0].startswith(f"{method} / HTTP/1.1\r\n".encode())
    assert b"content-length: 0\r\n" in server.heard[0]


async def test_the_answer_to_a_head_has_no_body(server: Server) -> None:
    server.says = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"
    found = await ask(f"http://127.0.0.1:{server.port}/", method="HEAD", most=10)
    assert (found.body, found.headers["content-length"]) == (b"", "100000")


async def test_redirects_are_not_followed(server: Server) -> None:
    server.says = b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"
    found = await ask(f"http://127.0.0.1:{server.port}/")
    assert (found.status, found.headers["location"]) == (302, "http://169.254.169.254/")
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://0.0.0.0:{port}/",
    ],
)
async def test_private_places_are_refused(server: Server, url: str) -> None:
    with pytest.raises((Denied, Unavailable)):
        await ask(url.format(port=server.port), Guard())
    assert server.heard == []


@pytest.mark.parametrize(
    "url", ["", "file:///etc/passwd", "http://u:p@127.0.0.1/", "http://", "http://a b/", "gopher://a/"]
)
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        await ask(url)


async def test_an_answer_that_is_too_long_is_cut_off(server: Server) -> None:
    server.says = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000
    with pytest.raises(TooLarge, match="more than 1000 bytes"):
        await ask(f"http://127.0.0.1:{server.port}/")


async def test_an_answer_that_does_not_come_is_not_waited_for(server: Server) -> None:
    server.silent = True
    with pytest.raises(TimedOut):
        await ask(f"http://127.0.0.1:{server.port}/", seconds=0.2)


async def test_a_server_that_hangs_up_is_an_error(server: Server) -> None:
    server.says = b""
    with pytest.raises(UpstreamFailed):
        await ask(f"http://127.0.0.1:{server.port}/")


async def test_a_header_that_cannot_be_is_refused(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}/"
    with pytest.raises(Invalid, match="cannot have"):
        await fetch(LOCAL, "GET", url, {"x": "a\r\nb: c"}, None, timeout_seconds=30, max_bytes=10)
    with pytest.raises(Invalid, match="method"):
        await fetch(LOCAL, "GET / HTTP/1.1\r\nx: y", url, {}, None, timeout_seconds=30, max_bytes=10)
