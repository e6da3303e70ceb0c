"""One call to an upstream under its deadlines: whole, or as a stream."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from typing_extensions import AsyncGenerator

from polyforge.dialects.upstream_error import UpstreamError
from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer
from polyforge.kernel.errors import PolyforgeError, TimedOut, UpstreamFailed
from polyforge.kernel.retry_after import read_retry_after
from polyforge.ports.provider import Call, StreamEvent
from polyforge.upstreams.refusals import refusal

ReadError = Callable[[bytes], UpstreamError]
"""What a dialect reads out of the body of a refusal."""
Look = Callable[[Answer], None]
"""Reads headers of an answer that is still open."""
NO_ANSWER: Final = "the upstream did not answer in time"
_OK: Final = 200
_TAIL_SECONDS: Final = 1.0


class StreamReader(Protocol):
    """Turns arriving bytes into events and knows how far the stream has come."""

    has_content: bool
    """Whether something has come that a reader would see."""
    ended: bool
    """Whether the stream has finished as it should."""
    failure: PolyforgeError | None
    """What went wrong after the events that `feed` gave last, which are still the caller's."""

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """The events that these bytes complete; UpstreamFailed when one is malformed or an error."""
        ...

    def finish(self) -> list[StreamEvent]:
        """The events that the end of the connection completes; UpstreamFailed when it broke off."""
        ...


async def read_whole(
    answer: Answer,
    read_error: ReadError,
    limit: int,
    *,
    brought: bool = False,
    wanted: str = "json",
    look: Look | None = None,
) -> bytes:
    """The body of an answer of the media type that is `wanted`, of at most `limit` bytes; raises what a refusal means.

    Under the deadline of whoever calls. `brought`: the caller brought the key. `look`: at the headers of a success.
    """
    try:
        await answer.open()
        if answer.status != _OK or wanted not in (answer.header("content-type") or ""):
            raise await _unwanted(answer, wanted, read_error, brought)
        if look is not None:
            look(answer)
        return await answer.body(limit)
    finally:
        await answer.close()


async def read_typed(
    answer: Answer, read_error: ReadError, limit: int, *, brought: bool, wanted: tuple[str, ...]
) -> tuple[bytes, str]:
    """The same with its media type, which is one of those that are `wanted`."""
    try:
        await answer.open()
        kind = answer.header("content-type") or ""
        if answer.status != _OK or not any(one in kind for one in wanted):
            raise await _unwanted(answer, " or ".join(wanted), read_error, brought)
        return await answer.body(limit), kind
    finally:
        await answer.close()


async def read_stream(
    answer: Answer,
    call: Call,
    reader: StreamReader,
    read_error: ReadError,
    *,
    wanted: str | tuple[str, ...] = "event-stream",
) -> AsyncGenerator[list[StreamEvent]]:
    """The events as they come, as many at a time as arrived together; UpstreamFailed without a proper end."""
    first_token = min(call.deadline, call.started + call.timeouts.first_token)
    try:
        with Deadline(first_token, "the upstream sent no first token in time") as deadline:
            await answer.open()
            kinds, kind = (wanted,) if isinstance(wanted, str) else wanted, answer.header("content-type") or ""
            if answer.status != _OK or not any(one in kind for one in kinds):
                raise await _unwanted(answer, " or ".join(kinds), read_error, call.key is not None)
            clock, idle = asyncio.get_running_loop().time, call.timeouts.idle
            while not reader.ended:
                chunk = await answer.chunk()
                found = reader.finish() if chunk is None else reader.feed(chunk)
                if found:
                    deadline.pause()
                    yield found
                if reader.failure is not None:
                    raise reader.failure
                if reader.has_content:
                    deadline.when = min(call.deadline, clock() + idle)
                    deadline.message = "the upstream stopped in the middle of its answer"
                else:
                    deadline.when = first_token
        await _read_tail(answer)
    finally:
        await answer.close()


async def _unwanted(answer: Answer, wanted: str, read_error: ReadError, brought: bool) -> PolyforgeError:
    """What an answer means that is a refusal, or of another media type."""
    if answer.status == _OK:
        kind = answer.header("content-type") or "no content type"
        return UpstreamFailed(f"the upstream answered with {kind[:100]} instead of {wanted}")
    said = read_error(await answer.error_body())
    return refusal(answer.status, said, read_retry_after(answer.header), brought=brought)


async def _read_tail(answer: Answer) -> None:
    """Read what follows the end, normally nothing, because only a connection read to its end can be used again."""
    try:
        with Deadline(Deadline.now() + _TAIL_SECONDS, "the upstream goes on after its end"):
            while await answer.chunk() is not None:
                continue
    except (UpstreamFailed, TimedOut):
        return
