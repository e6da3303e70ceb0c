"""Much at once and much in one piece: nothing is lost, and nothing piles up in memory."""

import asyncio
import time

import psutil

from tests.faults.conftest import CHAT
from tests.support.behaviours import Answer, Exchange, Play
from tests.support.clients import RawCall, call_async, chat, request_bytes
from tests.support.server import Polyforge
from tests.support.settings import Pool
from tests.support.upstream import Received, Upstream

STREAMS = 200
CHUNKS = 100
MB = 1024 * 1024


def memory(server: Polyforge) -> int:
    """Bytes that the gateways hold for themselves."""
    return sum(psutil.Process(pid).memory_info().rss for pid in server.pids("gateway"))


async def test_paced_streams_lose_no_frame(house: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, key = pool.solo(), house.create_key()
    answer = Answer(pieces=CHUNKS, gap=0.02)
    upstream.script(model, answer)
    request = chat(model, stream=True)
    calls = [call_async(house.url, CHAT, key=key.key, json=request, seconds=120) for _ in range(STREAMS)]
    responses = await asyncio.gather(*calls)
    assert {(response.status, response.complete, response.finished) for response in responses} == {(200, True, True)}
    assert {response.text for response in responses} == {answer.whole_text()}
    await asyncio.to_thread(house.settled, key, STREAMS)


def test_a_long_stream_passes_through_without_piling_up(house: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, key = pool.solo(), house.create_key()
    word = "x" * 64_000
    upstream.script(model, Answer(" ".join([word] * 1600)))
    before = memory(house)
    request = request_bytes("POST", CHAT, key=key.key, json=chat(model, stream=True))
    length = 0
    with RawCall(house.url, request, timeout=120) as one:

        def count_and_forget(response: object) -> bool:
            nonlocal length
            length += len(one.response.body)
            one.response.body = one.response.body[-100:]
            length -= len(one.response.body)
            return False

        response = one.read_until(count_and_forget)
    assert response.complete
    assert response.body.endswith(b"data: [DONE]\n\n")
    assert length > 95 * MB
    assert memory(house) - before < 50 * MB


def test_a_reader_who_stops_reading_stops_the_upstream(house: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, key = pool.solo(), house.create_key()

    async def pour(exchange: Exchange) -> None:
        await exchange.head(200, {"content-type": "text/event-stream"}, None)
        text = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"y" * 60_000)
        for _ in range(5000):
            await exchange.body(text)

    upstream.script(model, Play(pour))
    before = memory(house)
    with RawCall(house.url, request_bytes("POST", CHAT, key=key.key, json=chat(model, stream=True))) as one:
        one.read_head()
        (received,) = upstream.wait_for(model)
        assert stalled_at(received) < 100 * MB
        assert memory(house) - before < 60 * MB
    received.wait_aborted()


def stalled_at(received: Received) -> int:
    """Bytes that were sent when nothing more went out for a while."""
    sent, since = -1, time.monotonic()
    while time.monotonic() - since < 1.0:
        if received.sent != sent:
            sent, since = received.sent, time.monotonic()
        time.sleep(0.05)
    return sent
