"""How the scripted upstream answers one request: well, badly, late, or never."""

import asyncio
import base64
import dataclasses
import json
import struct
import threading
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, cast

Ending = Literal[
    "finish",  # as it should be
    "no_finish",  # [DONE] without a finish_reason before it
    "no_done",  # finish_reason, then the body ends without [DONE]
    "cut",  # the body ends cleanly, without finish_reason and [DONE]
    "close",  # the connection is closed in the middle of the body
    "reset",  # the connection is reset in the middle of the body
    "hang",  # silence in the middle of the body
    "bad_json",  # one event that is not JSON
    "error_event",  # one event that holds an error
]


_MOST_DIMENSIONS = 4096


class Gate:
    """Holds exchanges up until a test opens it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def open(self) -> None:
        """Let everyone through, now and later."""
        with self._lock:
            self._open = True
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)

    async def wait(self) -> None:
        """Return once the gate is open."""
        with self._lock:
            if self._open:
                return
            event = asyncio.Event()
            self._waiting.append((asyncio.get_running_loop(), event))
        await event.wait()


NEVER = Gate()
"""A gate that nobody opens."""

Pause = float | Gate


async def pause(how: Pause) -> None:
    """Sleep for that many seconds, or wait at the gate."""
    if isinstance(how, Gate):
        await how.wait()
    elif how > 0:
        await asyncio.sleep(how)


class Exchange(Protocol):
    """One request and the means to answer it, down to the byte."""

    path: str
    json: dict[str, Any]

    async def head(self, status: int, headers: Mapping[str, str], length: int | None) -> None:
        """Send the status line and headers; without a length the body is chunked."""
        ...

    async def body(self, data: bytes) -> None:
        """Send a part of the body, as a chunk where the body is chunked."""
        ...

    async def end(self) -> None:
        """End the body as HTTP wants it."""
        ...

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are, outside any framing."""
        ...

    def close(self) -> None:
        """Close the connection after what was sent."""
        ...

    def reset(self) -> None:
        """Reset the connection."""
        ...


class Behaviour(Protocol):
    """One way to answer."""

    async def play(self, exchange: Exchange) -> None:
        """Answer `exchange`."""
        ...


@dataclasses.dataclass(frozen=True)
class Tokens:
    """What the upstream says a call used; the completion keeps to the limit that the request sets."""

    prompt: int = 9
    completion: int = 3
    cached: int = 0

    def within(self, request: Mapping[str, Any]) -> "Tokens":
        """The same, cut off where `request` wants it."""
        limit = request.get("max_completion_tokens") or request.get("max_tokens") or self.completion
        return dataclasses.replace(self, completion=min(self.completion, limit))

    def chat(self) -> dict[str, Any]:
        """As a `usage` object of chat and completions."""
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }
        if self.cached:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached}
        return usage

    def embedding(self) -> dict[str, Any]:
        """As a `usage` object of embeddings."""
        return {"prompt_tokens": self.prompt, "total_tokens": self.prompt}


@dataclasses.dataclass(frozen=True)
class Answer:
    """A 200 that may go wrong on the way. Streams when the request asks for it."""

    text: str = "Hello there, world."
    pieces: int | None = None
    """Content chunks of a stream; default: one per word."""
    tokens: Tokens | None = Tokens()
    """None: the upstream reports no usage."""
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """More fields of the answer, or of each chunk."""
    exact: bytes | None = None
    """The body of an answer that is not streamed, byte for byte."""
    before_head: Pause = 0.0
    before_first: Pause = 0.0
    """Stream: after the head, before the first content chunk. Otherwise: after the head, before the body."""
    gap: Pause = 0.0
    """Stream: between two content chunks."""
    pauses: Mapping[int, Pause] = dataclasses.field(default_factory=dict[int, Pause])
    """Stream: before the content chunk of that number."""
    ending: Ending = "finish"
    after: int | None = None
    """Stream: how many content chunks are sent before the ending strikes; default: all."""
    before_ending: Pause = 0.0
    role_first: bool = True
    newline: str = "\n"
    batch: int = 1
    """Stream: events per write."""
    split: int | None = None
    """Stream: bytes per write, whatever the borders of events are."""
    comments: bool = False
    junk: bool = False
    """Stream: chunks with empty choices and null usage in between."""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])

    async def play(self, exchange: Exchange) -> None:
        """Answer `exchange`."""
        await pause(self.before_head)
        if exchange.json.get("stream"):
            await self._stream(exchange)
        else:
            await self._whole(exchange)

    async def _whole(self, exchange: Exchange) -> None:
        body = self.exact if self.exact is not None else json.dumps(self._object(exchange)).encode()
        half = len(body) // 2
        if self.ending in ("bad_json", "cut", "error_event"):
            body = body[:half]
        await exchange.head(200, {"content-type": "application/json", **self.headers}, len(body))
        await pause(self.before_first)
        if self.ending not in ("close", "reset", "hang"):
            await exchange.body(body)
            await exchange.end()
            return
        await exchange.body(body[:half])
        await pause(self.before_ending)
        await _break_off(exchange, self.ending)

    async def _stream(self, exchange: Exchange) -> None:
        await exchange.head(200, {"content-type": "text/event-stream", **self.headers}, None)
        contents = self._contents()
        sent = contents if self.after is None else contents[: self.after]
        out = _Writer(exchange, self.batch, self.split)
        if self.role_first and exchange.path.endswith("/chat/completions"):
            await out.event(self._event(self._chunk(exchange, {"role": "assistant", "content": ""})))
        if not sent:
            await out.flush()
            await pause(self.before_first)
        for number, text in enumerate(sent):
            waits = (self.before_first if number == 0 else self.gap, self.pauses.get(number, 0.0))
            if any(wait != 0.0 for wait in waits):
                await out.flush()
            for wait in waits:
                await pause(wait)
            await self._noise(exchange, out)
            await out.event(self._event(self._chunk(exchange, {"content": text})))
        await self._end(exchange, out)

    async def _noise(self, exchange: Exchange, out: "_Writer") -> None:
        if self.comments:
            await out.event(f": ping{self.newline * 2}".encode())
        if self.junk:
            junk = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "usage": None}
            await out.event(self._event(junk))

    async def _end(self, exchange: Exchange, out: "_Writer") -> None:
        if self.before_ending != 0.0:
            await out.flush()
            await pause(self.before_ending)
        ending = self.ending
        if ending in ("close", "reset", "hang"):
            await out.flush()
            await _break_off(exchange, ending)
            return
        if ending == "bad_json":
            await out.event(f'data: {{"id": "chatcmpl-1", "choices": [{{"delta": {{"con{self.newline * 2}'.encode())
        if ending == "error_event":
            error = {"message": "the model fell over", "type": "server_error", "param": None, "code": None}
            await out.event(self._event({"error": error}))
        if ending in ("finish", "no_done", "bad_json"):
            await out.event(self._event(self._chunk(exchange, {}, "stop")))
        if ending in ("finish", "no_done", "bad_json", "no_finish") and _wants_usage(exchange) and self.tokens:
            last = self._chunk(exchange, {}) | {"choices": [], "usage": self.tokens.within(exchange.json).chat()}
            await out.event(self._event(last))
        if ending in ("finish", "no_finish", "bad_json"):
            await out.event(f"data: [DONE]{self.newline * 2}".encode())
        await out.flush()
        await exchange.end()

    def _contents(self) -> list[str]:
        words = self.text.split(" ")
        texts = [words[0], *(f" {word}" for word in words[1:])]
        if self.pieces is None or self.pieces == len(texts):
            return texts
        return [f"{number} " for number in range(self.pieces)]

    def whole_text(self) -> str:
        """The text that a stream of this answer adds up to."""
        return "".join(self._contents())

    def _event(self, content: Mapping[str, Any]) -> bytes:
        return f"data: {json.dumps(content)}{self.newline * 2}".encode()

    def _chunk(self, exchange: Exchange, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        if exchange.path.endswith("/chat/completions"):
            kind, choice = "chat.completion.chunk", {"index": 0, "delta": delta, "finish_reason": finish}
        else:
            kind = "text_completion"
            choice = {"index": 0, "text": delta.get("content", ""), "logprobs": None, "finish_reason": finish}
        chunk = {**_common(exchange, kind), "choices": [choice], **self.extra}
        return chunk | {"usage": None} if _wants_usage(exchange) else chunk

    def _object(self, exchange: Exchange) -> dict[str, Any]:
        if exchange.path.endswith("/embeddings"):
            return self._embeddings(exchange)
        if exchange.path.endswith("/chat/completions"):
            message = {"role": "assistant", "content": self.text, "refusal": None}
            kind, choice = "chat.completion", {"index": 0, "message": message, "logprobs": None}
        else:
            kind, choice = "text_completion", {"index": 0, "text": self.text, "logprobs": None}
        answer = {**_common(exchange, kind), "choices": [choice | {"finish_reason": "stop"}], **self.extra}
        return answer | {"usage": self.tokens.within(exchange.json).chat()} if self.tokens else answer

    def _embeddings(self, exchange: Exchange) -> dict[str, Any]:
        inputs: Any = exchange.json.get("input")
        is_one = isinstance(inputs, str) or isinstance(inputs[0], int)
        texts = [inputs] if is_one else cast(list[Any], inputs)
        vectors = [vector_of(text, exchange.json.get("dimensions") or 8) for text in texts]
        if exchange.json.get("encoding_format") == "base64":
            rows: list[Any] = [base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode() for v in vectors]
        else:
            rows = vectors
        data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
        answer: dict[str, Any] = {"object": "list", "data": data, "model": exchange.json["model"], **self.extra}
        return answer | {"usage": self.tokens.embedding()} if self.tokens else answer


def vector_of(text: object, dimensions: int) -> list[float]:
    """A vector that depends on `text` alone; its numbers are exact in float32. ValueError when it would be too long."""
    if not 0 < dimensions <= _MOST_DIMENSIONS:
        raise ValueError(f"no vector has {dimensions} dimensions")
    return [(zlib.crc32(f"{text}/{place}".encode()) % 2048 - 1024) / 1024 for place in range(dimensions)]


@dataclasses.dataclass(frozen=True)
class Fail:
    """An error with the envelope that OpenAI uses."""

    status: int = 500
    message: str = "something broke upstream"
    kind: str = "server_error"
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    before_head: Pause = 0.0

    async def play(self, exchange: Exchange) -> None:
        """Answer `exchange`."""
        await pause(self.before_head)
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        body = json.dumps({"error": error}).encode()
        await exchange.head(self.status, {"content-type": "application/json", **self.headers}, len(body))
        await exchange.body(body)
        await exchange.end()


@dataclasses.dataclass(frozen=True)
class Other:
    """A body of another type than the one asked for."""

    status: int = 200
    content_type: str = "text/html"
    content: bytes = b"<!doctype html><title>Sign in</title><p>Please sign in to the hotel network.</p>"

    async def play(self, exchange: Exchange) -> None:
        """Answer `exchange`."""
        await exchange.head(self.status, {"content-type": self.content_type}, len(self.content))
        await exchange.body(self.content)
        await exchange.end()


@dataclasses.dataclass(frozen=True)
class Huge:
    """A 200 of `size` bytes: JSON, or for a stream one event that never ends its line."""

    size: int = 100 * 1024 * 1024
    with_length: bool = True

    async def play(self, exchange: Exchange) -> None:
        """Answer `exchange`; stops when the reader goes away."""
        start, fill, end = b'{"id": "x", "pad": "', b"A" * 65_536, b'"}'
        kind = "application/json"
        if exchange.json.get("stream"):
            start, end, kind = b"data: " + start, end + b"\n\n", "text/event-stream"
        chunks = self.size // len(fill)
        length = len(start) + chunks * len(fill) + len(end)
        await exchange.head(200, {"content-type": kind}, length if self.with_length else None)
        await exchange.body(start)
        for _ in range(chunks):
            await exchange.body(fill)
        await exchange.body(end)
        await exchange.end()


@dataclasses.dataclass(frozen=True)
class Drop:
    """No answer at all: the connection ends after the request was read."""

    how: Literal["close", "reset"] = "close"
    before: Pause = 0.0

    async def play(self, exchange: Exchange) -> None:
        """Hang up on `exchange`."""
        await pause(self.before)
        await _break_off(exchange, self.how)


@dataclasses.dataclass(frozen=True)
class Play:
    """Whatever the test's own function does."""

    how: Callable[[Exchange], Awaitable[None]]

    async def play(self, exchange: Exchange) -> None:
        """Answer `exchange`."""
        await self.how(exchange)


HANG = Answer(before_head=NEVER)
"""Takes the request and says nothing."""


class _Writer:
    """Puts events together or apart before they are written."""

    def __init__(self, exchange: Exchange, batch: int, split: int | None) -> None:
        self._exchange = exchange
        self._batch = batch
        self._split = split
        self._held: list[bytes] = []

    async def event(self, data: bytes) -> None:
        self._held.append(data)
        if len(self._held) >= self._batch:
            await self.flush()

    async def flush(self) -> None:
        data = b"".join(self._held)
        self._held.clear()
        step = self._split or max(len(data), 1)
        pieces: Sequence[bytes] = [data[start : start + step] for start in range(0, len(data), step)]
        for piece in pieces:
            await self._exchange.body(piece)
            if self._split:
                await asyncio.sleep(0.001)


async def _break_off(exchange: Exchange, how: str) -> None:
    if how == "reset":
        exchange.reset()
    elif how == "close":
        exchange.close()
    else:
        await NEVER.wait()


def _common(exchange: Exchange, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-upstream1", "object": kind, "created": 1_700_000_000, "model": exchange.json.get("model")}


def _wants_usage(exchange: Exchange) -> bool:
    options = exchange.json.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))
