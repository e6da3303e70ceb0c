"""How a stream of server-sent events is answered with."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, Protocol

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from polyforge.kernel.errors import Invalid

_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class Framed(Protocol):
    """What may be read as server-sent events."""

    def frames(self) -> AsyncGenerator[bytes]:
        """The stream as bytes."""
        ...


class Owner(Protocol):
    """Who gave a stream its place."""

    def release(self, stream: Any) -> None:
        """Nobody reads it any more."""
        ...


class StreamFrames(StreamingResponse):
    """Server-sent events for as long as the caller stays; `owner` has the place back however that ends.

    `content` is what is sent where that is not just what the stream gives.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        owner: Owner,
        stream: Framed,
        *,
        content: AsyncGenerator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(stream.frames() if content is None else content, headers={**_HEADERS, **(headers or {})})
        self._owner = owner
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._owner.release(self._stream)


def place_of(after: int | None, last_event_id: str | None, most: int) -> int | None:
    """After which event to go on; what a browser says when it resumes counts more than the address, which stays."""
    if not last_event_id:
        return after
    if not (last_event_id.isascii() and last_event_id.isdigit() and int(last_event_id) <= most):
        raise Invalid("is not the id of an event", param="last-event-id")
    return int(last_event_id)
