"""Streams at the pace of a model: many at once, each chunk on its own, stamped with the time it left the upstream.

wrk cannot do this: it needs an upstream that waits between chunks and a client that looks into every frame.
`python -m benchmarks.paced PORT CHUNKS PACE_MS` runs the upstream.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import msgspec
import uvloop

from benchmarks.load import Call
from benchmarks.upstream import DONE, content_chunk, finish_chunk, frame, usage_chunk

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STAMP = "@stamp@"
RAMP_SECONDS = 1.0
"""The streams start spread over this time, so that their chunks do not come in bursts."""
GRACE_SECONDS = 60.0


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


@dataclass(frozen=True)
class PacedLoad:
    """What came of one window of paced streams; latencies are from the upstream's write to the client's read."""

    streams: int
    chunks: int
    lost: int
    broken: int
    p50_micros: int
    p99_micros: int
    seconds: float


@dataclass
class Received:
    """What one client saw of its stream."""

    stamps: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    """The stream's number, the chunk's number and the nanoseconds on the way, in order of arrival."""
    finished: bool = False
    done: bool = False
    clean: bool = False
    status: int = 0

    def lost(self, chunks: int) -> int:
        """Chunks that are missing, strange or out of order."""
        numbers = {stream for stream, _, _ in self.stamps}
        good = sum(1 for expected, (_, chunk, _) in enumerate(self.stamps) if chunk == expected)
        return chunks - good if len(numbers) <= 1 else chunks

    def is_whole(self, chunks: int) -> bool:
        """True when every chunk came, in order, followed by a finish, [DONE] and a clean end."""
        return self.lost(chunks) == 0 and self.finished and self.done and self.clean


class _Client(asyncio.Protocol):
    """Reads one streamed answer and looks into each frame as it comes."""

    def __init__(self, ended: asyncio.Future[None]) -> None:
        self.received = Received()
        self._ended = ended
        self._parser: Any = httptools.HttpResponseParser(self)
        self._pending = b""
        self._now = 0
        self._decode = msgspec.json.Decoder(_Chunk).decode

    def data_received(self, data: bytes) -> None:
        self._now = time.monotonic_ns()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def on_headers_complete(self) -> None:
        self.received.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        *frames, self._pending = (self._pending + body).split(b"\n\n")
        for each in frames:
            self._take(each)

    def on_message_complete(self) -> None:
        self.received.clean = self.received.status == 200
        self._end(None)

    def _take(self, frame: bytes) -> None:
        data = frame.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            self.received.done = True
            return
        if not frame.startswith(b"data:"):
            return
        for choice in self._decode(data).choices:
            if choice.delta.content:
                stream, chunk, sent = choice.delta.content.split(":")
                self.received.stamps.append((int(stream), int(chunk), self._now - int(sent)))
            self.received.finished |= choice.finish_reason == "stop"

    def _end(self, error: Exception | None) -> None:
        if self._ended.done():
            return
        if error:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)


class _Upstream(asyncio.Protocol):
    """Answers every POST with a paced stream of stamped chunks."""

    numbers = itertools.count()

    def __init__(self, chunks: int, pace: float) -> None:
        self._chunks = chunks
        self._pace = pace
        before, _, after = frame(content_chunk(STAMP)).partition(STAMP.encode())
        self._before, self._after = before, after
        self._end = frame(finish_chunk()) + frame(usage_chunk(chunks)) + DONE
        self._parser: Any = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being one.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(HEAD)
        loop = asyncio.get_running_loop()
        self._send(loop, next(self.numbers), 0, loop.time())

    def _send(self, loop: asyncio.AbstractEventLoop, stream: int, chunk: int, started: float) -> None:
        if self._transport.is_closing():
            return
        if chunk == self._chunks:
            self._transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(self._end), self._end))
            return
        data = b"%b%d:%d:%d%b" % (self._before, stream, chunk, time.monotonic_ns(), self._after)
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        loop.call_at(started + (chunk + 1) * self._pace, self._send, loop, stream, chunk + 1, started)


def run_paced(call: Call, streams: int, chunks: int, pace: float) -> PacedLoad:
    """Open the streams against a target and read them all to the end."""
    started = time.monotonic()
    received = uvloop.run(_all(call, streams, chunks, pace))
    seconds = time.monotonic() - started
    on_the_way = sorted(stamp[2] // 1000 for each in received for stamp in each.stamps)
    p50, p99 = _p50_p99(on_the_way)
    lost = sum(each.lost(chunks) for each in received)
    broken = sum(not each.is_whole(chunks) for each in received)
    return PacedLoad(streams, chunks, lost, broken, p50, p99, seconds)


async def _all(call: Call, streams: int, chunks: int, pace: float) -> list[Received]:
    limit = RAMP_SECONDS + chunks * pace + GRACE_SECONDS
    return await asyncio.gather(*(_one(call, index * RAMP_SECONDS / streams, limit) for index in range(streams)))


async def _one(call: Call, delay: float, limit: float) -> Received:
    await asyncio.sleep(delay)
    loop = asyncio.get_running_loop()
    url = urlsplit(call.url)
    assert url.hostname
    assert url.port
    ended: asyncio.Future[None] = loop.create_future()
    client = _Client(ended)
    try:
        async with asyncio.timeout(limit):
            transport, _ = await loop.create_connection(lambda: client, url.hostname, url.port)
            transport.write(_request(call))
            await ended
            transport.close()
    except (OSError, httptools.HttpParserError, TimeoutError, ValueError, msgspec.MsgspecError) as error:
        # A broken stream is a figure of the result, not the end of the run: what came of it shows in `Received`.
        print(f"  broken stream: {error!r}", file=sys.stderr)
    return client.received


def _request(call: Call) -> bytes:
    url = urlsplit(call.url)
    headers = {"host": url.netloc, "content-length": str(len(call.body)), **call.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {url.path} HTTP/1.1\r\n{lines}\r\n".encode() + call.body


def _p50_p99(values: Sequence[int]) -> tuple[int, int]:
    if len(values) < 2:
        return 0, 0
    cuts = quantiles(values, n=100)
    return round(cuts[49]), round(cuts[98])


async def _serve(port: int, chunks: int, pace: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Upstream(chunks, pace), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    """Serve paced streams until killed."""
    port, chunks, pace_millis = (int(argument) for argument in sys.argv[1:])
    uvloop.run(_serve(port, chunks, pace_millis / 1000))


if __name__ == "__main__":
    main()
