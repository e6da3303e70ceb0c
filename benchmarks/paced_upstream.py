"""A model provider that answers at the pace of a model, in the dialect that it is asked in.

Every answer is a stream of as many chunks as the request allows tokens, each stamped with the time it left.
`python -m benchmarks.paced_upstream PORT PACE_MS` serves until killed.
"""

import asyncio
import itertools
import json
import re
import struct
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from zlib import crc32

import httptools
import uvloop

from benchmarks.scenarios import Wire
from benchmarks.upstream import DONE, content_chunk, finish_chunk, frame, usage_chunk

STAMP = "@stamp@"
HEAD = "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ntransfer-encoding: chunked\r\n\r\n"
NOT_ASKED = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
TOKENS = re.compile(rb'"(?:max_tokens|max_completion_tokens|maxOutputTokens|maxTokens)":\s*(\d+)')
SSE, EVENT_STREAM = "text/event-stream", "application/vnd.amazon.eventstream"
INPUT_TOKENS = 200


@dataclass(frozen=True)
class Script:
    """How one dialect is written: what comes before the first chunk, a chunk with its stamp, and the end."""

    media_type: str
    opening: bytes
    chunk: Callable[[bytes], bytes]
    closing: Callable[[int], bytes]


def _openai() -> Script:
    piece = _with_gap(frame(content_chunk(STAMP)))
    return Script(SSE, b"", piece, lambda count: frame(finish_chunk()) + frame(usage_chunk(count)) + DONE)


def _anthropic() -> Script:
    nothing: list[object] = []
    message: dict[str, object] = {
        "id": "msg_benchmark",
        "type": "message",
        "role": "assistant",
        "model": "canned-1",
        "content": nothing,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1},
    }
    begin = {"index": 0, "content_block": {"type": "text", "text": ""}}
    opening = _named("message_start", message=message) + _named("content_block_start", **begin) + _named("ping")
    piece = _with_gap(_named("content_block_delta", index=0, delta={"type": "text_delta", "text": STAMP}))

    def closing(count: int) -> bytes:
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        ended = _named("message_delta", delta=delta, usage={"output_tokens": count})
        return _named("content_block_stop", index=0) + ended + _named("message_stop")

    return Script(SSE, opening, piece, closing)


def _gemini() -> Script:
    def reply(text: str, count: int, **end: str) -> bytes:
        content = {"parts": [{"text": text}], "role": "model"}
        usage = {
            "promptTokenCount": INPUT_TOKENS,
            "candidatesTokenCount": count,
            "totalTokenCount": INPUT_TOKENS + count,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": INPUT_TOKENS}],
        }
        wire = {
            "candidates": [{"content": content, **end, "index": 0}],
            "usageMetadata": usage,
            "modelVersion": "canned-1",
            "responseId": "benchmark",
        }
        return b"data: " + json.dumps(wire).encode() + b"\r\n\r\n"

    return Script(SSE, b"", _with_gap(reply(STAMP, 1)), lambda count: reply("", count, finishReason="STOP"))


def _bedrock() -> Script:
    content: dict[str, object] = {"contentBlockIndex": 0, "delta": {"text": STAMP}, "p": "abcdefghijkl"}
    payload = _with_gap(json.dumps(content, separators=(",", ":")).encode())

    def closing(count: int) -> bytes:
        usage = {"inputTokens": INPUT_TOKENS, "outputTokens": count, "totalTokens": INPUT_TOKENS + count}
        return (
            _aws_event("contentBlockStop", b'{"contentBlockIndex":0}')
            + _aws_event("messageStop", b'{"stopReason":"end_turn"}')
            + _aws_event("metadata", json.dumps({"usage": usage, "metrics": {"latencyMs": 1}}).encode())
        )

    opening = _aws_event("messageStart", b'{"role":"assistant"}')
    return Script(EVENT_STREAM, opening, lambda stamp: _aws_event("contentBlockDelta", payload(stamp)), closing)


def _with_gap(written: bytes) -> Callable[[bytes], bytes]:
    before, _, after = written.partition(STAMP.encode())
    return lambda stamp: before + stamp + after


def _named(event: str, **fields: object) -> bytes:
    data = json.dumps({"type": event, **fields}, separators=(",", ":"))
    return f"event: {event}\ndata: {data}\n\n".encode()


def _aws_event(name: str, payload: bytes) -> bytes:
    """A message of AWS's event stream (https://smithy.io/2.0/aws/amazon-eventstream.html)."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    head = b"".join(
        struct.pack(">B", len(key)) + key.encode() + struct.pack(">BH", 7, len(value)) + value.encode()
        for key, value in headers.items()
    )
    prelude = struct.pack(">II", len(head) + len(payload) + 16, len(head))
    whole = prelude + struct.pack(">I", crc32(prelude)) + head + payload
    return whole + struct.pack(">I", crc32(whole))


SCRIPTS: Mapping[Wire, Script] = {
    "openai": _openai(),
    "anthropic": _anthropic(),
    "gemini": _gemini(),
    "bedrock": _bedrock(),
}
PATHS: Mapping[str, Wire] = {
    "/chat/completions": "openai",
    "/messages": "anthropic",
    ":streamGenerateContent": "gemini",
    "/converse-stream": "bedrock",
}
"""How the path of a request ends, and the dialect that it is in."""


class _Upstream(asyncio.Protocol):
    """One connection."""

    numbers = itertools.count()

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._parser: Any = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being one.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_url(self, url: bytes) -> None:
        self._path = url.decode().partition("?")[0]

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        script = next((SCRIPTS[wire] for end, wire in PATHS.items() if self._path.endswith(end)), None)
        allowed = TOKENS.search(self._body)
        if script is None or allowed is None:
            self._transport.write(NOT_ASKED)
            return
        loop = asyncio.get_running_loop()
        self._transport.write(HEAD.format(script.media_type).encode())
        if script.opening:
            self._write(script.opening)
        self._stream, self._script, self._count, self._began = next(self.numbers), script, int(allowed[1]), loop.time()
        self._send(loop, 0)

    def _send(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        if self._transport.is_closing():
            return
        if number == self._count:
            self._write(self._script.closing(number))
            self._transport.write(b"0\r\n\r\n")
            return
        self._write(self._script.chunk(b"%d:%d:%d" % (self._stream, number, time.monotonic_ns())))
        loop.call_at(self._began + (number + 1) * self._pace, self._send, loop, number + 1)

    def _write(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))


async def _serve(port: int, pace: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Upstream(pace), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    port, pace_millis = (int(argument) for argument in sys.argv[1:])
    uvloop.run(_serve(port, pace_millis / 1000))


if __name__ == "__main__":
    main()
