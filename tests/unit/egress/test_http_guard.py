"""A client that was made under a guard connects only to where the guard lets it."""

import asyncio

import pytest

from polyforge.egress.guarding import Guard, guarded
from polyforge.egress.http import HttpClient
from polyforge.kernel.errors import NotConfigured


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    await writer.drain()
    writer.close()


async def _body(client: HttpClient) -> bytes:
    answer = client.get("/")
    try:
        await answer.open()
        return await answer.body(10)
    finally:
        await answer.close()
        await client.close()


async def test_a_guarded_client_connects_where_it_may_and_a_trusted_one_anywhere() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def client(*allow: str) -> HttpClient:
        with guarded(Guard(allow)):
            return HttpClient(url, {}, 5.0, 1)

    async with server:
        assert await _body(client("127.0.0.1")) == b"ok"
        assert await _body(HttpClient(url, {}, 5.0, 1)) == b"ok"
        with pytest.raises(NotConfigured, match=r"egress\.allow"):
            await _body(client())
