"""Chat and completions through OpenAI's client."""

import asyncio
import json
from collections.abc import Callable

import pytest
from openai import APIError, APITimeoutError, AsyncOpenAI, OpenAI, Stream
from openai.types.chat import ChatCompletionStreamOptionsParam

from tests.support.behaviours import HANG, NEVER, Answer, Exchange, Fail, Play, Tokens
from tests.support.server import Key, Polyforge
from tests.support.settings import Pool
from tests.support.upstream import Upstream
from tests.wire.conftest import HELLO, Counted

ULID_LENGTH = 26


def test_chat(client: OpenAI, upstream: Upstream) -> None:
    upstream.script("assistant", Answer("Hello!", tokens=Tokens(11, 4)))
    completion = client.chat.completions.create(model="assistant", messages=HELLO)
    assert completion.choices[0].message.content == "Hello!"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (11, 4)
    assert completion._request_id is not None
    assert len(completion._request_id) == ULID_LENGTH


def test_every_answer_has_a_request_id_of_its_own_and_tells_the_overhead(client: OpenAI, pool: Pool) -> None:
    model = pool.solo()
    ask = client.chat.completions.with_raw_response.create
    first, second = ask(model=model, messages=HELLO), ask(model=model, messages=HELLO, stream=True)
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    for response in (first, second):
        assert float(response.headers["x-polyforge-overhead-ms"]) >= 0
    list(second.parse())


def test_stream(client: OpenAI, upstream: Upstream, pool: Pool) -> None:
    model = pool.solo()
    upstream.script(model, Answer("one two three", extra={"system_fingerprint": "fp_1"}))
    chunks = list(client.chat.completions.create(model=model, messages=HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one two three"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert {chunk.system_fingerprint for chunk in chunks} == {"fp_1"}


def test_stream_withholds_the_usage_that_it_asked_for_itself(client: OpenAI, upstream: Upstream, pool: Pool) -> None:
    model = pool.solo()
    chunks = list(client.chat.completions.create(model=model, messages=HELLO, stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert not any(chunk.usage for chunk in chunks)
    (request,) = upstream.wait_for(model)
    assert request.json["stream_options"]["include_usage"] is True


@pytest.mark.parametrize("wanted", [True, False])
def test_stream_with_usage_holds_it_once_where_wanted(
    client: OpenAI, upstream: Upstream, pool: Pool, wanted: bool
) -> None:
    model = pool.solo()
    upstream.script(model, Answer(tokens=Tokens(21, 5)))
    options: ChatCompletionStreamOptionsParam = {"include_usage": wanted}
    chunks = list(client.chat.completions.create(model=model, messages=HELLO, stream=True, stream_options=options))
    usages = [chunk.usage.total_tokens for chunk in chunks if chunk.usage]
    assert usages == ([26] if wanted else [])
    assert all(chunk.choices for chunk in (chunks[:-1] if wanted else chunks))


def test_stream_copes_with_what_upstreams_really_send(client: OpenAI, upstream: Upstream, pool: Pool) -> None:
    model = pool.solo()
    upstream.script(model, Answer("one two three", newline="\r\n", comments=True, junk=True, split=5))
    chunks = list(client.chat.completions.create(model=model, messages=HELLO, stream=True))
    contents = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(contents) == "one two three"


def test_stream_helper_puts_tool_calls_together(client: OpenAI, upstream: Upstream, pool: Pool) -> None:
    fragments: list[dict[str, object]] = [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city": '}},
        {"index": 0, "function": {"arguments": '"Pune"}'}},
    ]
    deltas: list[tuple[dict[str, object], str | None]] = [({"role": "assistant", "content": None}, None)]
    deltas.extend(({"tool_calls": [fragment]}, None) for fragment in fragments)
    deltas.append(({}, "tool_calls"))

    async def play(exchange: Exchange) -> None:
        await exchange.head(200, {"content-type": "text/event-stream"}, None)
        for delta, finish in deltas:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            await exchange.body(f"data: {json.dumps(chunk)}\n\n".encode())
        await exchange.body(b"data: [DONE]\n\n")
        await exchange.end()

    model = pool.solo()
    upstream.script(model, Play(play))
    with client.chat.completions.stream(model=model, messages=HELLO) as stream:
        completion = stream.get_final_completion()
    (tool_call,) = completion.choices[0].message.tool_calls or []
    assert (tool_call.function.name, tool_call.function.arguments) == ("weather", '{"city": "Pune"}')


@pytest.mark.parametrize("stream", [False, True])
def test_legacy_completions(client: OpenAI, upstream: Upstream, stream: bool) -> None:
    upstream.script("scribe", Answer("upon a time"))
    answer = client.completions.create(model="scribe", prompt="Once", stream=stream)
    parts = list(answer) if isinstance(answer, Stream) else [answer]
    assert "".join(choice.text for part in parts for choice in part.choices) == "upon a time"


def test_wildcard_models_lose_their_prefix_upstream(client: OpenAI, upstream: Upstream) -> None:
    completion = client.chat.completions.create(model="lab/llama-upstream", messages=HELLO)
    assert completion.choices[0].message.content
    assert upstream.wait_for("llama-upstream")


def test_retries_wait_as_long_as_they_are_told(
    house: Polyforge, upstream: Upstream, pool: Pool, counted: Callable[..., Counted], key: Key
) -> None:
    model = pool.solo()
    upstream.script(model, Fail(429, headers={"retry-after": "1"}), Answer("Finally."))
    one = counted(key)
    completion = one.client.chat.completions.create(model=model, messages=HELLO)
    assert completion.choices[0].message.content == "Finally."
    assert len(one.requests) == len(upstream.requests(model)) == 2


def test_a_failure_upstream_is_over_for_a_client_that_retries(
    upstream: Upstream, pool: Pool, counted: Callable[..., Counted], key: Key
) -> None:
    model = pool.solo()
    upstream.script(model, Fail(500), Answer("Better."))
    completion = counted(key).client.chat.completions.create(model=model, messages=HELLO)
    assert completion.choices[0].message.content == "Better."


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_gives_up_ends_the_call_upstream(
    client: OpenAI, upstream: Upstream, pool: Pool, stream: bool
) -> None:
    model = pool.solo()
    upstream.script(model, HANG)
    with pytest.raises(APITimeoutError):
        client.with_options(timeout=3.0).chat.completions.create(model=model, messages=HELLO, stream=stream)
    upstream.wait_for(model, 1)[0].wait_aborted()


def test_closing_a_stream_ends_the_call_upstream(client: OpenAI, upstream: Upstream, pool: Pool) -> None:
    model = pool.solo()
    upstream.script(model, Answer(pieces=100, pauses={1: NEVER}))
    stream = client.chat.completions.create(model=model, messages=HELLO, stream=True)
    assert next(chunk for chunk in stream if chunk.choices[0].delta.content)
    stream.close()
    upstream.requests(model)[0].wait_aborted()


def test_a_stream_that_breaks_off_raises_after_what_came(client: OpenAI, upstream: Upstream, pool: Pool) -> None:
    model = pool.solo()
    upstream.script(model, Answer("one two three", after=2, ending="cut"))
    chunks = iter(client.chat.completions.create(model=model, messages=HELLO, stream=True))
    seen: list[str] = []

    def read_on() -> None:
        for chunk in chunks:
            seen.extend(choice.delta.content or "" for choice in chunk.choices)

    with pytest.raises(APIError) as raised:
        read_on()
    assert "".join(seen) == "one two"
    assert raised.value.message


async def test_async_chat_many_at_once(async_client: AsyncOpenAI, pool: Pool) -> None:
    model = pool.solo()
    calls = [async_client.chat.completions.create(model=model, messages=HELLO) for _ in range(20)]
    completions = await asyncio.gather(*calls)
    assert {completion.choices[0].message.content for completion in completions} == {Answer().text}
    assert len({completion._request_id for completion in completions}) == len(calls)


async def test_async_stream(async_client: AsyncOpenAI, pool: Pool) -> None:
    stream = await async_client.chat.completions.create(model=pool.solo(), messages=HELLO, stream=True)
    contents = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(contents) == Answer().text


async def test_cancelling_a_task_ends_the_call_upstream(
    async_client: AsyncOpenAI, upstream: Upstream, pool: Pool
) -> None:
    model = pool.solo()
    upstream.script(model, HANG)
    task = asyncio.create_task(async_client.chat.completions.create(model=model, messages=HELLO))
    (request,) = await asyncio.to_thread(upstream.wait_for, model)
    task.cancel()
    await asyncio.to_thread(request.wait_aborted)
