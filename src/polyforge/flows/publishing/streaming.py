"""A run as server-sent events: everything that happens in it, and what came of it as the last."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final

import msgspec
from pydantic import BaseModel

from polyforge.flows.running.records import RunEvent

PAUSE_SECONDS: Final = 15.0
"""Of silence, before a comment keeps the connection open."""
_COMMENT: Final = b": still there\n\n"
_encode: Final = msgspec.json.Encoder().encode


async def frames_of(
    run_id: str, events: AsyncIterator[RunEvent], end: Callable[[], Awaitable[BaseModel]]
) -> AsyncGenerator[bytes]:
    """The stream as bytes; `end` gives what the last event, `run`, says."""
    waiting: asyncio.Future[RunEvent] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({waiting}, timeout=PAUSE_SECONDS)
            if not done:
                yield _COMMENT
                continue
            try:
                event = waiting.result()
            except StopAsyncIteration:
                break
            waiting = None
            yield frame_of(run_id, event)
        yield b"event: run\ndata: " + (await end()).model_dump_json().encode() + b"\n\n"
    finally:
        if waiting is not None and not waiting.done():
            waiting.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await waiting


def frame_of(run_id: str, event: RunEvent) -> bytes:
    """One event."""
    data = _encode({"run_id": run_id, **msgspec.structs.asdict(event)})
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, event.type.encode(), data)
