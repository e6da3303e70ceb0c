"""The OpenAI provider against a server that writes exactly the bytes it is told to."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from polyforge.adapters.providers.openai import OpenAI, Settings
from polyforge.dialects.openai_chat import decode_chat
from polyforge.kernel.errors import UpstreamFailed
from polyforge.ports.provider import Call, StreamEvent, Timeouts

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'
MORE = b'data: {"choices":[{"index":0,"delta":{"content":", world"}}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
END_OF_BODY = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Upstream:
    """Plays `answer` to every request and keeps the connection open; counts connections."""

    def __init__(self) -> None:
        self.answer = b""
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.read(65_536):
                writer.write(self.answer)
        except ConnectionError:
            return
        finally:
            writer.close()


@pytest.fixture
async def upstream() -> AsyncGenerator[Upstream]:
    one = Upstream()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    one.url = f"http://127.0.0.1:{port}/v1"
    yield one
    server.close()


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncGenerator[OpenAI]:
    one = OpenAI(Settings(base_url=upstream.url), connect_timeout=5)
    yield one
    await one.close()


def call() -> Call:
    request = decode_chat(b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}')
    now = asyncio.get_running_loop().time()
    return Call(request, "id", "m", None, Timeouts(), now, now + 30, {})


async def events_of(provider: OpenAI) -> list[StreamEvent]:
    return [event async for batch in provider.stream(call()) for event in batch]


async def test_a_connection_is_used_again_after_a_stream(provider: OpenAI, upstream: Upstream) -> None:
    upstream.answer = HEAD + chunk(TEXT) + chunk(FINISH) + chunk(DONE) + END_OF_BODY
    for _ in range(3):
        assert (await events_of(provider))[-1].end
    assert upstream.connections == 1


async def test_an_upstream_that_goes_on_after_its_end_is_hung_up_on_and_no_failure(
    provider: OpenAI, upstream: Upstream
) -> None:
    upstream.answer = HEAD + chunk(TEXT) + chunk(FINISH) + chunk(DONE)
    assert [event.end for event in await events_of(provider)] == [False, False, True]
    assert (await events_of(provider))[-1].end
    assert upstream.connections == 2


async def test_the_length_of_text_is_counted_in_every_chunk(provider: OpenAI, upstream: Upstream) -> None:
    upstream.answer = HEAD + chunk(TEXT) + chunk(MORE) + chunk(FINISH + DONE) + END_OF_BODY
    sizes = [event.size for event in await events_of(provider) if event.frame in (TEXT, MORE)]
    assert sizes == [len("hello"), len(", world")]


@pytest.mark.parametrize("wrong", [b'data: {"choices":[{"index":0,\n\n', b'data: {"error":{"message":"no"}}\n\n', DONE])
async def test_a_stream_that_is_broken_after_content_is_a_failure(
    provider: OpenAI, upstream: Upstream, wrong: bytes
) -> None:
    upstream.answer = HEAD + chunk(TEXT) + chunk(wrong) + END_OF_BODY
    with pytest.raises(UpstreamFailed):
        await events_of(provider)
