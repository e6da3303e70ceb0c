"""What comes in AWS's event streams: events as JSON, or another stream in pieces."""

import re
from typing import Final

import msgspec

from polyforge.dialects.aws_errors import decode_error
from polyforge.dialects.aws_eventstream import BrokenStream, Message, MessageSplitter
from polyforge.dialects.upstream_error import UpstreamError
from polyforge.kernel.errors import PolyforgeError, UpstreamFailed
from polyforge.ports.provider import StreamEvent
from polyforge.upstreams.calls import StreamReader
from polyforge.upstreams.refusals import refusal

_NAME: Final = re.compile(r"[A-Za-z]{1,64}")
_BROKEN: Final = 500
_COMPLETE: Final = "InvokeComplete"


class EventPayloads:
    """Events of which each becomes a JSON object with one field: the event's name, and in it what it says."""

    def __init__(self) -> None:
        self._splitter = MessageSplitter()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes; raises what an exception among them means."""
        found: list[bytes] = []
        for message in self._splitter.feed(chunk):
            if message.kind != "event":
                raise failure_of(message)
            if _NAME.fullmatch(message.name):
                found.append(b'{"%b":%b}' % (message.name.encode(), message.payload or b"{}"))
        return found


class _Complete(msgspec.Struct, rename="pascal"):
    """The last event of a Lambda function's stream."""

    error_code: str | None = None
    error_details: str | None = None


_complete: Final = msgspec.json.Decoder(_Complete)


class StreamInEvents:
    """A stream of any kind whose bytes come in the payloads of events called `name`, cut anywhere."""

    def __init__(self, inner: StreamReader, name: str) -> None:
        self._inner = inner
        self._name = name
        self._splitter = MessageSplitter()
        self.has_content = False
        self.ended = False
        self.failure: PolyforgeError | None = None

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """The events that these bytes complete; raises what an exception among the messages means."""
        try:
            messages = self._splitter.feed(chunk)
        except BrokenStream as error:
            raise UpstreamFailed(f"the upstream's stream is broken: {error}") from error
        data = b"".join([self._payload(message) for message in messages])
        return self._noted(self._inner.feed(data)) if data else []

    def finish(self) -> list[StreamEvent]:
        """The end of a stream whose connection closed."""
        return self._noted(self._inner.finish())

    def _payload(self, message: Message) -> bytes:
        if message.kind != "event":
            raise failure_of(message)
        if message.name == _COMPLETE:
            _check_complete(message.payload)
        return message.payload if message.name == self._name else b""

    def _noted(self, events: list[StreamEvent]) -> list[StreamEvent]:
        self.has_content, self.ended = self._inner.has_content, self._inner.ended
        self.failure = self._inner.failure
        return events


def _check_complete(payload: bytes) -> None:
    try:
        told = _complete.decode(payload or b"{}")
    except ValueError as error:
        raise UpstreamFailed("the upstream sent a malformed event") from error
    if told.error_code:
        raise UpstreamFailed(f"the function failed: {told.error_code[:100]}: {(told.error_details or '')[:500]}")


def failure_of(message: Message) -> PolyforgeError:
    """What an exception, or an error that the service's model does not know, means in the middle of a stream."""
    said = decode_error(message.payload, message.name)
    if message.kind == "error":
        said = UpstreamError(message.headers.get(":error-message", "")[:2000], code=message.name[:200])
    return refusal(_BROKEN, said, None, brought=False)
