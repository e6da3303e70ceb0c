"""A streamed response, written from canonical deltas."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from polyforge.dialects.openai_responses.replies import (
    Status,
    begin_response,
    call_item,
    end_response,
    incompleteness,
    logprobs_of,
    message_item,
    reasoning_item,
    refusal_part,
    text_part,
)
from polyforge.dialects.writing import Answering
from polyforge.kernel.chat import (
    Delta,
    Finish,
    Finished,
    ReasoningDelta,
    ReasoningEnd,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Used,
)
from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.usage import Usage

_ERROR_CODES: Final = frozenset({"rate_limit_exceeded"})
"""Codes that a failed response may carry beside `server_error`."""
_WITHOUT_CHOICE: Final = (Started, Used)
PartKind = Literal["output_text", "refusal"]


class _Error(msgspec.Struct):
    message: str = "the answer broke off"
    code: str | None = None
    param: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error


_error: Final = msgspec.json.Decoder(_ErrorBody)
_encode: Final = msgspec.json.Encoder().encode


class _Growing:
    """A text that comes in pieces: of a part, a summary or a call. `frame` is the event of a piece, with two gaps."""

    __slots__ = ("frame", "pieces")

    def __init__(self, kind: str, place: Mapping[str, Any], more: bytes = b"") -> None:
        written = _encode({"type": kind, **place})[:-1].replace(b"%", b"%%")
        self.frame = b"event: " + kind.encode() + b"\ndata: " + written + b',"delta":%b' + more
        self.frame += b',"sequence_number":%d}\n\n'
        self.pieces: list[str] = []

    @property
    def text(self) -> str:
        """All that has come."""
        return "".join(self.pieces)


class _Part:
    """A part of a message that still grows."""

    __slots__ = ("growing", "kind", "logprobs", "place")

    def __init__(self, kind: PartKind, place: Mapping[str, Any]) -> None:
        event, more = ("output_text", b',"logprobs":%b') if kind == "output_text" else ("refusal", b"")
        self.kind: PartKind = kind
        self.place = place
        self.growing = _Growing(f"response.{event}.delta", place, more)
        self.logprobs: list[msgspec.Raw] = []

    def written(self) -> dict[str, Any]:
        """The part as far as it has come."""
        text = self.growing.text
        return text_part(text, self.logprobs) if self.kind == "output_text" else refusal_part(text)


class _Call:
    """A call whose arguments still come."""

    __slots__ = ("growing", "index", "start")

    def __init__(self, start: ToolCallStart, index: int, item_id: str) -> None:
        self.start = start
        self.index = index
        place = {"item_id": item_id, "output_index": index}
        self.growing = _Growing("response.function_call_arguments.delta", place)


class EventWriter:
    """Writes deltas as the events of one response, numbered without gaps.

    A message or a thought ends where something else begins; calls stay open to the end, because the pieces of several
    may come in turns.
    """

    def __init__(self, answering: Answering) -> None:
        self._answer_id = answering.id
        self._response = begin_response(answering)
        self._number = 0
        self._output: list[dict[str, Any]] = []
        """Every item that was begun, as far as it is known."""
        self._parts: list[dict[str, Any]] = []
        """Of the open message, those that are whole."""
        self._part: _Part | None = None
        self._thought: _Growing | None = None
        self._calls: dict[int, _Call] = {}
        self._refused = False
        self._finish: Finish = "stop"

    def write(self, deltas: Iterable[Delta]) -> bytes:
        """The events to send for them."""
        begin = b"" if self._number else self._begin()
        return begin + b"".join([self._write(delta) for delta in deltas])

    def end(self, usage: Usage | None) -> bytes:
        """What closes the items that are open, and the whole response."""
        begin = b"" if self._number else self._begin()
        reason = incompleteness(self._finish, refused=self._refused)
        closed = begin + self._close_all("completed" if reason is None else "incomplete")
        whole = end_response(self._response, self._output, reason, usage)
        return closed + self._event(f"response.{whole['status']}", response=whole)

    def fail(self, error: bytes) -> bytes:
        """The failed response, and the error beside it, which is what the official client raises."""
        begin = b"" if self._number else self._begin()
        told = _error.decode(error).error
        code = told.code if told.code in _ERROR_CODES else "server_error"
        failure = {"code": code, "message": told.message}
        failed = {**self._response, "status": "failed", "output": self._output, "error": failure, "store": False}
        flat: dict[str, Any] = {"code": told.code, "message": told.message, "param": told.param}
        return begin + self._event("response.failed", response=failed) + self._event("error", **flat, error=flat)

    def _write(self, delta: Delta) -> bytes:
        if isinstance(delta, TextDelta):
            return b"" if delta.choice else self._write_text(delta)
        if isinstance(delta, _WITHOUT_CHOICE) or delta.choice:
            return b""
        if isinstance(delta, ReasoningDelta):
            return self._write_thought(delta.text)
        if isinstance(delta, ToolCallDelta):
            return self._write_arguments(delta)
        if isinstance(delta, ToolCallStart):
            return self._begin_call(delta)
        if isinstance(delta, RefusalDelta):
            return self._write_refusal(delta.text)
        if isinstance(delta, ReasoningEnd):
            return self._end_thought(delta)
        return self._finished(delta)

    # Messages

    def _write_text(self, delta: TextDelta) -> bytes:
        begin, part = self._grow("output_text")
        if delta.logprobs is None:
            return begin + self._piece(part.growing, delta.text, b"[]")
        logprobs = logprobs_of(delta.logprobs)
        part.logprobs += logprobs
        return begin + self._piece(part.growing, delta.text, _encode(logprobs))

    def _write_refusal(self, text: str) -> bytes:
        self._refused = True
        begin, part = self._grow("refusal")
        return begin + self._piece(part.growing, text)

    def _grow(self, kind: PartKind) -> tuple[bytes, _Part]:
        """The open part of that kind, and the events that begin it where there was none."""
        if self._part is not None and self._part.kind == kind:
            return b"", self._part
        begin = self._close_part() if self._part is not None else self._begin_message()
        index = len(self._output) - 1
        item_id = self._output[index]["id"]
        place = {"item_id": item_id, "output_index": index, "content_index": len(self._parts)}
        self._part = part = _Part(kind, place)
        return begin + self._event("response.content_part.added", **place, part=part.written()), part

    def _begin_message(self) -> bytes:
        return self._close_thought() + self._add(message_item(self._answer_id, len(self._output), [], "in_progress"))

    def _close_part(self) -> bytes:
        part, self._part = self._part, None
        assert part is not None
        written = part.written()
        self._parts.append(written)
        if part.kind == "output_text":
            done = self._event("response.output_text.done", **part.place, text=written["text"], logprobs=part.logprobs)
        else:
            done = self._event("response.refusal.done", **part.place, refusal=written["refusal"])
        return done + self._event("response.content_part.done", **part.place, part=written)

    def _close_message(self, status: Status = "completed") -> bytes:
        if self._part is None:
            return b""
        place: int = self._part.place["output_index"]
        closed = self._close_part()
        parts, self._parts = self._parts, []
        return closed + self._done(place, message_item(self._answer_id, place, parts, status))

    # Thoughts

    def _write_thought(self, text: str) -> bytes:
        begin = b"" if self._thought is not None else self._begin_thought()
        assert self._thought is not None
        return begin + self._piece(self._thought, text)

    def _begin_thought(self) -> bytes:
        begin = self._close_message() + self._add(self._thought_item())
        place = self._thought_place()
        self._thought = _Growing("response.reasoning_summary_text.delta", place)
        part = {"type": "summary_text", "text": ""}
        return begin + self._event("response.reasoning_summary_part.added", **place, part=part)

    def _thought_item(self) -> dict[str, Any]:
        return reasoning_item(self._answer_id, len(self._output), "", None, None)

    def _thought_place(self) -> dict[str, Any]:
        index = len(self._output) - 1
        return {"item_id": self._output[index]["id"], "output_index": index, "summary_index": 0}

    def _end_thought(self, end: ReasoningEnd) -> bytes:
        if self._thought is not None:
            return self._close_thought(end.signature, end.encrypted)
        if end.signature is None and end.encrypted is None:
            return b""
        begin = self._close_message() + self._add(self._thought_item())
        place = len(self._output) - 1
        return begin + self._done(place, reasoning_item(self._answer_id, place, "", end.signature, end.encrypted))

    def _close_thought(self, signature: str | None = None, encrypted: str | None = None) -> bytes:
        """The end of the open thought, which is the item that was begun last."""
        if self._thought is None:
            return b""
        text, self._thought = self._thought.text, None
        place = self._thought_place()
        done = self._event("response.reasoning_summary_text.done", **place, text=text)
        part = {"type": "summary_text", "text": text}
        done += self._event("response.reasoning_summary_part.done", **place, part=part)
        index: int = place["output_index"]
        return done + self._done(index, reasoning_item(self._answer_id, index, text, signature, encrypted))

    # Calls

    def _begin_call(self, start: ToolCallStart) -> bytes:
        closed = self._close_message() + self._close_thought()
        place = len(self._output)
        item = self._call_item(start, place, "", "in_progress")
        self._calls[start.index] = _Call(start, place, item["id"])
        return closed + self._add(item)

    def _call_item(self, start: ToolCallStart, place: int, arguments: str, status: Status) -> dict[str, Any]:
        return call_item(self._answer_id, place, start.id, start.name, arguments, start.signature, status)

    def _write_arguments(self, delta: ToolCallDelta) -> bytes:
        call = self._calls.get(delta.index)
        if call is None:
            raise UpstreamFailed("the upstream sent arguments of a call that it had not begun")
        return self._piece(call.growing, delta.arguments)

    def _close_call(self, call: _Call, status: Status) -> bytes:
        begin = b"" if call.growing.pieces else self._piece(call.growing, "{}")
        arguments = call.growing.text
        item = self._call_item(call.start, call.index, arguments, status)
        place = {"item_id": item["id"], "output_index": call.index, "name": call.start.name}
        done = self._event("response.function_call_arguments.done", **place, arguments=arguments)
        return begin + done + self._done(call.index, item)

    # The end

    def _finished(self, delta: Finished) -> bytes:
        self._finish = delta.finish
        return b""

    def _close_all(self, status: Status) -> bytes:
        """Whatever is open ends; the item that was begun last with that status."""
        closed = b""
        if not self._output:
            closed, _ = self._grow("output_text")
        last = len(self._output) - 1
        open_ended = [
            self._close_call(call, status if call.index == last else "completed") for call in self._calls.values()
        ]
        return closed + b"".join(open_ended) + self._close_message(status) + self._close_thought()

    # Events

    def _begin(self) -> bytes:
        created = self._event("response.created", response=self._response)
        return created + self._event("response.in_progress", response=self._response)

    def _add(self, item: dict[str, Any]) -> bytes:
        self._output.append(item)
        return self._event("response.output_item.added", output_index=len(self._output) - 1, item=item)

    def _done(self, place: int, item: dict[str, Any]) -> bytes:
        self._output[place] = item
        return self._event("response.output_item.done", output_index=place, item=item)

    def _piece(self, growing: _Growing, text: str, *more: bytes) -> bytes:
        growing.pieces.append(text)
        number = self._number
        self._number = number + 1
        return growing.frame % (_encode(text), *more, number)

    def _event(self, kind: str, **fields: Any) -> bytes:
        number = self._number
        self._number = number + 1
        data = _encode({"type": kind, **fields, "sequence_number": number})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
