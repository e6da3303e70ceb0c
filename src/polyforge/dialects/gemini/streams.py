"""A streamed answer (`streamGenerateContent?alt=sse`) read into canonical deltas."""

from typing import Final

from polyforge.dialects.gemini.replies import (
    BLOCKED,
    CallReader,
    WireCall,
    WireCandidate,
    decode_reply,
    finish_of,
    write_logprobs,
)
from polyforge.dialects.gemini.tool_names import ToolNames
from polyforge.dialects.gemini.usage import read_usage
from polyforge.kernel.chat import (
    Delta,
    Finish,
    Finished,
    ReasoningDelta,
    ReasoningEnd,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Used,
)
from polyforge.kernel.errors import UpstreamFailed

_MOST_CHOICES: Final = 128
_MOST_CALLS: Final = 1024


class _Progress:
    """How far one choice has come."""

    __slots__ = ("calls", "finish")

    def __init__(self) -> None:
        self.calls = 0
        self.finish: Finish | None = None


class EventReader:
    """Reads the data of one event after the other. There is no last word: the stream is whole when every choice has
    its finish and the connection ends. A finish that more content follows was none, as some servers repeat it.
    """

    def __init__(self, names: ToolNames) -> None:
        self._names = names
        self._calls: CallReader | None = None
        self._choices: dict[int, _Progress] = {}
        self.ended = False

    def read(self, data: bytes) -> list[Delta]:
        """What one event says; UpstreamFailed when it is malformed, an error, or the end of a broken answer."""
        wire = decode_reply(data)
        deltas: list[Delta] = []
        calls = self._calls
        if calls is None:
            calls = self._calls = CallReader(self._names, wire.response_id)
            deltas.append(Started(wire.model_version or "", wire.response_id or ""))
        for place, candidate in enumerate(wire.candidates or ()):
            self._read_candidate(candidate, place if candidate.index is None else candidate.index, calls, deltas)
        if not self._choices and wire.is_blocked:
            self._progress(0).finish = finish_of(BLOCKED, None, called=False)
        if (usage := read_usage(wire.usage_metadata)) is not None:
            deltas.append(Used(usage))
        return deltas

    def finish(self) -> list[Delta]:
        """The end of the stream; UpstreamFailed when a choice has no finish, or there is none at all."""
        ends: list[Delta] = []
        for place, progress in sorted(self._choices.items()):
            if progress.finish is None:
                raise UpstreamFailed("the upstream's stream broke off before its end")
            ends.append(Finished(progress.finish, choice=place))
        if not ends:
            raise UpstreamFailed("the upstream's stream ended before it began")
        self.ended = True
        return ends

    def _progress(self, choice: int) -> _Progress:
        progress = self._choices.get(choice)
        if progress is None:
            if len(self._choices) >= _MOST_CHOICES:
                raise UpstreamFailed("the upstream sent more choices than it may")
            progress = self._choices[choice] = _Progress()
        return progress

    def _read_candidate(self, wire: WireCandidate, choice: int, calls: CallReader, deltas: list[Delta]) -> None:
        progress = self._progress(choice)
        before = len(deltas)
        logprobs = None if wire.logprobs_result is None else write_logprobs(wire.logprobs_result)
        for part in (wire.content.parts if wire.content else None) or ():
            if part.function_call is not None:
                deltas += self._read_call(part.function_call, part.thought_signature, choice, progress, calls)
            elif part.text:
                thought = part.thought
                deltas.append(ReasoningDelta(part.text, choice) if thought else TextDelta(part.text, choice, logprobs))
            if part.thought_signature is not None and part.function_call is None:
                deltas.append(ReasoningEnd(part.thought_signature, choice=choice))
            logprobs = None
        if wire.finish_reason is not None:
            progress.finish = finish_of(wire.finish_reason, wire.finish_message, called=progress.calls > 0)
        elif progress.finish is not None and any(not isinstance(delta, ReasoningEnd) for delta in deltas[before:]):
            progress.finish = None

    def _read_call(
        self, wire: WireCall, signature: str | None, choice: int, progress: _Progress, calls: CallReader
    ) -> tuple[Delta, Delta]:
        index = progress.calls
        if index >= _MOST_CALLS:
            raise UpstreamFailed("the upstream called more tools than it may")
        progress.calls += 1
        call = calls.read(wire, signature)
        start = ToolCallStart(index, call.id, call.name, call.signature, choice)
        return start, ToolCallDelta(index, call.arguments, choice)
