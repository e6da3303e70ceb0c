"""The OpenAI provider against a server that writes exactly the bytes it is told to."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from polyforge.adapters.providers.openai import OpenAI, Settings
from polyforge.dialects.openai_chat.facts import decode_chat
from polyforge.dialects.openai_chat.requests import read_chat
from polyforge.kernel.chat import TextDelta
from polyforge.kernel.errors import NotConfigured, SettingsError, UpstreamDenied, UpstreamFailed, UpstreamRefused
from polyforge.kernel.hidden import Hidden
from polyforge.ports.provider import KEY_HEADER, Call, StreamEvent, Timeouts
from tests.support.vault import Secrets

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
        self.requests: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while request := await reader.read(65_536):
                self.requests.append(request)
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


async def collect(provider: OpenAI, one: Call, got: list[StreamEvent]) -> None:
    """Into `got`, so that what came is there however the stream ends."""
    async for batch in provider.stream(one):
        got += batch


async def events_of(provider: OpenAI) -> list[StreamEvent]:
    return [event async for batch in provider.stream(call()) for event in batch]


async def test_a_connection_is_used_again_after_a_stream(provider: OpenAI, upstream: Upstream) -> None:
    upstream.answer = HEAD + chunk(TEXT) + chunk(FINISH) + chunk(DONE) + END_OF_BODY
    for _ in range(3):
        assert (await events_of(provider))[-1].end
    assert upstream.connections == 1


@pytest.mark.parametrize("canonical", [False, True], ids=["passed on", "translated"])
async def test_text_that_comes_together_with_an_error_is_not_lost(
    provider: OpenAI, upstream: Upstream, canonical: bool
) -> None:
    upstream.answer = HEAD + chunk(TEXT + MORE + b'data: {"error":{"message":"overloaded"}}\n\n')
    one, got = call(), list[StreamEvent]()
    one.chat = read_chat(one.request.body) if canonical else None
    with pytest.raises(UpstreamFailed, match="overloaded"):
        await collect(provider, one, got)
    said = b"".join(event.frame for event in got) or "".join(
        delta.text for event in got for delta in event.deltas if isinstance(delta, TextDelta)
    )
    assert said in (TEXT + MORE, "hello, world")


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


# --- keys ---

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
REPLY = b'{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}'
DENIED = b"HTTP/1.1 %d No\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


async def ask(provider: OpenAI, key: str | None = None) -> None:
    asked = call()
    asked.key = None if key is None else Hidden(key)
    await provider.send(asked)


def provider_with(upstream: Upstream, **settings: object) -> OpenAI:
    upstream.answer = WHOLE % (len(REPLY), REPLY)
    return OpenAI(Settings.model_validate({"base_url": upstream.url, **settings}), connect_timeout=5)


@pytest.mark.parametrize("said", [b"", b"[]", b"{}", b'{"data":[{}]}', b'{"data":[{"id":"\xff"}]}', b"[" * 100_000])
async def test_a_list_of_models_that_is_none_is_the_upstreams_failure(upstream: Upstream, said: bytes) -> None:
    provider = provider_with(upstream)
    upstream.answer = WHOLE % (len(said), said)
    with pytest.raises(UpstreamFailed):
        await provider.models()
    await provider.close()


async def test_a_key_of_the_database_is_followed_from_its_coming_to_its_going(upstream: Upstream) -> None:
    provider, secrets = provider_with(upstream, api_key="secret:k"), Secrets()
    await provider.open(secrets)
    for attempt in (ask(provider), events_of(provider), provider.models()):
        with pytest.raises(NotConfigured, match="'k'"):
            await attempt
    assert upstream.requests == []
    for value in ("first", "second\n"):
        secrets.put("k", value)
        await ask(provider)
        assert b"authorization: Bearer %b\r\n" % value.strip().encode() in upstream.requests[-1]
    secrets.put("k", "two\nlines")
    with pytest.raises(NotConfigured, match="secret:k is no key") as refused:
        await ask(provider)
    assert "lines" not in str(refused.value)
    secrets.drop("k")
    with pytest.raises(NotConfigured, match="'k'"):
        await ask(provider)
    await ask(provider, "brought")
    assert b"authorization: Bearer brought\r\n" in upstream.requests[-1]
    await provider.close()
    assert secrets.watchers == []


def test_a_key_that_cannot_be_sent_is_refused_at_the_start(upstream: Upstream) -> None:
    with pytest.raises(SettingsError):
        provider_with(upstream, api_key="two\nlines")


async def test_a_brought_key_replaces_all_that_tells_of_our_account(upstream: Upstream) -> None:
    headers = {"Authorization": "Bearer ours-1", "api-key": "ours-2", "x-plain": "kept"}
    provider = provider_with(upstream, api_key="ours-3", organization="ours-4", headers=headers)
    await ask(provider, "brought")
    assert b"authorization: Bearer brought\r\n" in upstream.requests[-1]
    assert b"x-plain: kept\r\n" in upstream.requests[-1]
    assert b"ours" not in upstream.requests[-1]
    await ask(provider)
    assert b"authorization: Bearer ours-3\r\n" in upstream.requests[-1]
    assert b"openai-organization: ours-4\r\n" in upstream.requests[-1]
    assert b"ours-1" not in upstream.requests[-1]
    await provider.close()


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_its_owners_matter(upstream: Upstream, status: int) -> None:
    provider = provider_with(upstream, api_key="ours")
    upstream.answer = DENIED % status
    with pytest.raises(UpstreamRefused, match=KEY_HEADER) as refused:
        await ask(provider, "brought")
    assert (refused.value.status, refused.value.param) == (status, KEY_HEADER)
    with pytest.raises(UpstreamDenied):
        await ask(provider)
    await provider.close()
