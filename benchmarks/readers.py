"""What a client reads of one event of a streamed answer, in each dialect."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from benchmarks.scenarios import Caller


class Seen(NamedTuple):
    """The text of an event; whether it says that the answer is complete, and whether nothing follows it."""

    text: str = ""
    finished: bool = False
    done: bool = False


Read = Callable[[bytes], Seen]


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


class _MessageDelta(msgspec.Struct):
    text: str = ""
    stop_reason: str | None = None


class _MessageEvent(msgspec.Struct):
    type: str
    delta: _MessageDelta | None = None


class _ResponseEvent(msgspec.Struct):
    type: str
    delta: str = ""


_chunk = msgspec.json.Decoder(_Chunk).decode
_message_event = msgspec.json.Decoder(_MessageEvent).decode
_response_event = msgspec.json.Decoder(_ResponseEvent).decode


def read_chat(data: bytes) -> Seen:
    """An event of a chat completion."""
    if data == b"[DONE]":
        return Seen(done=True)
    choices = _chunk(data).choices
    text = "".join(choice.delta.content or "" for choice in choices)
    return Seen(text, finished=any(choice.finish_reason == "stop" for choice in choices))


def read_message(data: bytes) -> Seen:
    """An event of a message."""
    event = _message_event(data)
    delta = event.delta or _MessageDelta()
    return Seen(delta.text, delta.stop_reason == "end_turn", event.type == "message_stop")


def read_response(data: bytes) -> Seen:
    """An event of a response."""
    event = _response_event(data)
    completed = event.type == "response.completed"
    return Seen(event.delta, completed, completed)


READERS: dict[Caller, Read] = {"chat": read_chat, "messages": read_message, "responses": read_response}
