"""A run as server-sent events: everything that happens in it, and what came of it as the last."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Protocol

from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from polyforge.tenancy.callers import Caller


class Stream(Protocol):
    """What happens in one run, as somebody reads it."""

    @property
    def ended(self) -> bool:
        """Whether it was ended before the run was over: the process drains, or its reader may not go on."""
        ...

    def frames(self) -> AsyncGenerator[bytes]:
        """The stream as bytes."""
        ...


class Streams(Protocol):
    """Who gives callers such streams."""

    async def subscribe(self, caller: Caller, run_id: str, after: int) -> Stream:
        """A stream, to be released; Unavailable when there are too many."""
        ...

    def release(self, stream: Any) -> None:
        """Nobody reads it any more."""
        ...


class PublishedFrames(StreamingResponse):
    """Server-sent events for as long as the caller stays; the last, `run`, says what came of the run."""

    media_type = "text/event-stream"

    def __init__(
        self, streams: Streams, stream: Stream, end: Callable[[], Awaitable[BaseModel]], headers: Mapping[str, str]
    ) -> None:
        told = {"cache-control": "no-cache", "x-accel-buffering": "no", **headers}
        super().__init__(_with_end(stream, end), headers=told)
        self._streams = streams
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.release(self._stream)


async def _with_end(stream: Stream, end: Callable[[], Awaitable[BaseModel]]) -> AsyncGenerator[bytes]:
    async for frame in stream.frames():
        yield frame
    if not stream.ended:
        yield b"event: run\ndata: " + (await end()).model_dump_json().encode() + b"\n\n"
