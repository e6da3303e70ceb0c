"""Streams at the pace of a model: many at once, each chunk on its own, stamped with the time it left the upstream.

wrk cannot do this: it needs an upstream that waits between chunks and a client that looks into every frame.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

import httptools
import msgspec
import uvloop

from benchmarks.load import Call
from benchmarks.readers import Read

GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class Pacing:
    """So many streams of so many chunks; they begin spread over `ramp` seconds."""

    streams: int
    chunks: int
    pace: float
    """Seconds between two chunks."""
    ramp: float = 1.0
    """At least so long that the chunks of all streams do not come in bursts."""


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

    def __init__(self, read: Read, ended: asyncio.Future[None]) -> None:
        self.received = Received()
        self._read = read
        self._ended = ended
        self._parser: Any = httptools.HttpResponseParser(self)
        self._pending = b""
        self._now = 0

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
        data = frame[frame.rfind(b"\n") + 1 :]
        if not data.startswith(b"data:"):
            return
        seen = self._read(data.removeprefix(b"data:").strip())
        if seen.text:
            stream, chunk, sent = seen.text.split(":")
            self.received.stamps.append((int(stream), int(chunk), self._now - int(sent)))
        self.received.finished |= seen.finished
        self.received.done |= seen.done

    def _end(self, error: Exception | None) -> None:
        if self._ended.done():
            return
        if error:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)


def run_paced(call: Call, read: Read, pacing: Pacing) -> PacedLoad:
    """Open the streams against a target and read them all to the end."""
    started = time.monotonic()
    received = uvloop.run(_all(call, read, pacing))
    seconds = time.monotonic() - started
    on_the_way = sorted(stamp[2] // 1000 for each in received for stamp in each.stamps)
    p50, p99 = _p50_p99(on_the_way)
    lost = sum(each.lost(pacing.chunks) for each in received)
    broken = sum(not each.is_whole(pacing.chunks) for each in received)
    return PacedLoad(pacing.streams, pacing.chunks, lost, broken, p50, p99, seconds)


async def _all(call: Call, read: Read, pacing: Pacing) -> list[Received]:
    limit = pacing.ramp + pacing.chunks * pacing.pace + GRACE_SECONDS
    gap = pacing.ramp / pacing.streams
    return await asyncio.gather(*(_one(call, read, index * gap, limit) for index in range(pacing.streams)))


async def _one(call: Call, read: Read, delay: float, limit: float) -> Received:
    await asyncio.sleep(delay)
    loop = asyncio.get_running_loop()
    url = urlsplit(call.url)
    assert url.hostname
    assert url.port
    ended: asyncio.Future[None] = loop.create_future()
    client = _Client(read, ended)
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
