"""Answers in Anthropic's dialect, from whoever hosts its models: passed on as they came, or read."""

from typing import Final

from polyforge.dialects.anthropic_errors import broken_off, decode_error
from polyforge.dialects.anthropic_messages import facts, replies
from polyforge.dialects.anthropic_messages.streams import EventReader
from polyforge.dialects.anthropic_messages.usage import WireUsage, merged, read_usage
from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.sse import data_of
from polyforge.ports.provider import Call, Reply, StreamEvent
from polyforge.upstreams.calls import StreamReader
from polyforge.upstreams.streams import CanonicalStream, PassedEvents

NOT_ASKED: Final = "the upstream's answer is not what was asked for"


def reply_of(call: Call, body: bytes) -> Reply:
    """What a whole message says; UpstreamFailed when it is none."""
    if call.chat is None:
        return _read_reply(body)
    result = replies.read_reply(body)
    return Reply(usage=result.usage, result=result, finish=result.choices[0].finish)


def reader_of(call: Call) -> StreamReader:
    """What reads a streamed one."""
    return PassingStream() if call.chat is None else CanonicalStream(EventReader())


def _read_reply(body: bytes) -> Reply:
    try:
        found = facts.read_reply(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed(NOT_ASKED) from error
    if found.error:
        raise UpstreamFailed(decode_error(body).message or NOT_ASKED)
    return Reply(usage=found.usage, body=body, finish=found.finish)


class PassingStream(PassedEvents):
    """Hands on events as they came, and knows how far the stream has come."""

    def __init__(self) -> None:
        super().__init__()
        self._usage: WireUsage | None = None
        self._finished = False

    def finish(self) -> list[StreamEvent]:
        """The connection has closed: too early, since a stream ends with an event of its own."""
        raise UpstreamFailed("the upstream's stream broke off before its end")

    def _read(self, frame: bytes) -> StreamEvent:
        data = data_of(frame)
        if data is None:
            return StreamEvent(frame)
        try:
            found = facts.read_event(data)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed("the upstream sent a malformed event") from error
        if found.kind == "error":
            raise broken_off(data)
        if found.usage is not None:
            self._usage = merged(self._usage, found.usage)
        self._finished = self._finished or found.finish is not None
        self.has_content = self.has_content or found.content
        if found.kind == "message_stop":
            return self._end(frame)
        return StreamEvent(frame, found.content, finish=found.finish, size=found.size)

    def _end(self, frame: bytes) -> StreamEvent:
        if not self._finished:
            raise UpstreamFailed("the upstream ended its stream without a stop reason")
        self.ended = True
        return StreamEvent(frame, usage=read_usage(self._usage), end=True)
