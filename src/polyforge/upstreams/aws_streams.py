"""What comes in AWS's event streams: events as JSON, or a stream of server-sent events in pieces."""

import re
from typing import Final

import msgspec

from polyforge.dialects.aws_errors import decode_error
from polyforge.dialects.aws_eventstream import Message, MessageSplitter
from polyforge.dialects.upstream_error import UpstreamError
from polyforge.kernel.errors import PolyforgeError, UpstreamFailed
from polyforge.upstreams.refusals import refusal
from polyforge.upstreams.streams import SsePayloads

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


class SseInEvents:
    """Server-sent events whose bytes come in the payloads of events called `name`, cut anywhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._splitter = MessageSplitter()
        self._inner = SsePayloads()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The payloads that `chunk` completes; raises what an exception among the events means."""
        found: list[bytes] = []
        for message in self._splitter.feed(chunk):
            if message.kind != "event":
                raise failure_of(message)
            if message.name == self._name:
                found += self._inner.feed(message.payload)
            elif message.name == _COMPLETE:
                _check_complete(message.payload)
        return found


def _check_complete(payload: bytes) -> None:
    told = _complete.decode(payload or b"{}")
    if told.error_code:
        raise UpstreamFailed(f"the function failed: {told.error_code[:100]}: {(told.error_details or '')[:500]}")


def failure_of(message: Message) -> PolyforgeError:
    """What an exception, or an error that the service's model does not know, means in the middle of a stream."""
    said = decode_error(message.payload, message.name)
    if message.kind == "error":
        said = UpstreamError(message.headers.get(":error-message", "")[:2000], code=message.name[:200])
    return refusal(_BROKEN, said, None, brought=False)
