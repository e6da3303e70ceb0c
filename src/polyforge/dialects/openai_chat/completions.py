"""Legacy completions in canonical form: where the provider speaks another dialect, and where answers are judged.

To another provider the prompt is asked as one message of the user.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from polyforge.dialects.bodies import decode_whole, read_fields
from polyforge.dialects.openai_chat.replies import FINISH_REASONS, finish_of
from polyforge.dialects.openai_chat.usage import WireUsage, read_usage, write_usage
from polyforge.dialects.openai_errors import decode_error
from polyforge.dialects.openai_inputs import read_inputs
from polyforge.dialects.raw import ABSENT, given
from polyforge.dialects.writing import Answering
from polyforge.kernel.chat import (
    ChatRequest,
    ChatResult,
    Choice,
    Delta,
    Finished,
    Message,
    Started,
    Text,
    TextDelta,
    Used,
    text_of,
)
from polyforge.kernel.errors import Unsupported, UpstreamFailed
from polyforge.kernel.sse import DONE, event_of
from polyforge.kernel.usage import NO_USAGE, Usage


class _Known(msgspec.Struct, kw_only=True):
    prompt: str | list[Any]
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: msgspec.Raw = ABSENT
    n: int | None = None
    user: str | None = None


class _Choice(msgspec.Struct, gc=False):
    text: str = ""
    index: int = 0
    finish_reason: str | None = None


class _Answer(msgspec.Struct, gc=False):
    """A whole answer, or a chunk of one."""

    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw = ABSENT
    id: str | None = None
    model: str | None = None


_answer: Final = msgspec.json.Decoder(_Answer)
_known: Final = msgspec.json.Decoder(_Known)
_encode: Final = msgspec.json.Encoder().encode
_NAMES: Final = frozenset(_Known.__struct_fields__) | {"model", "stream", "stream_options"}


def read_completion(body: bytes) -> ChatRequest:
    """The canonical form of a POST /v1/completions; Unsupported for several prompts, or one in tokens."""
    wire, fields = decode_whole(_known, body), read_fields(body)
    prompts = read_inputs(wire.prompt, "prompt")
    prompt = prompts[0]
    if len(prompts) > 1 or not isinstance(prompt, str):
        raise Unsupported("this model takes one prompt at a time, as text", param="prompt")
    return ChatRequest(
        messages=[Message("user", [Text(prompt)])],
        output_limit=wire.max_tokens,
        temperature=wire.temperature,
        top_p=wire.top_p,
        stop=[wire.stop] if isinstance(wire.stop, str) else wire.stop or [],
        seed=wire.seed,
        frequency_penalty=wire.frequency_penalty,
        presence_penalty=wire.presence_penalty,
        logit_bias=given(wire.logit_bias),
        choices=wire.n or 1,
        user=wire.user,
        others={name: value for name, value in fields.items() if name not in _NAMES and bytes(value) != b"null"},
    )


def read_reply(body: bytes) -> ChatResult:
    """The canonical form of a text completion; UpstreamFailed when it is none."""
    wire = _read(body)
    if not wire.choices:
        raise UpstreamFailed("the upstream's answer holds no choices")
    choices = [
        Choice(
            content=[Text(choice.text)],
            finish=finish_of(choice.finish_reason, called=False, refused=False),
            index=choice.index,
        )
        for choice in wire.choices
    ]
    return ChatResult(choices=choices, usage=read_usage(wire.usage), model=wire.model or "", id=wire.id or "")


def _read(data: bytes) -> _Answer:
    try:
        wire = _answer.decode(data)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream's answer is not what was asked for") from error
    if given(wire.error) is not None:
        raise UpstreamFailed(decode_error(data).message or "the upstream broke off with an error")
    return wire


class CompletionReader:
    """Reads the data of one event of a text completion after the other. Ends are held back to the last."""

    def __init__(self) -> None:
        self._started = False
        self._ends: dict[int, str] = {}
        self.ended = False

    def read(self, data: bytes) -> list[Delta]:
        """What one event says; UpstreamFailed when it is malformed, an error, or an end without a finish."""
        if data.startswith(DONE):
            return self.finish()
        wire = _read(data)
        deltas: list[Delta] = []
        if not self._started:
            self._started = True
            deltas.append(Started(wire.model or "", wire.id or ""))
        for choice in wire.choices or ():
            if choice.text:
                deltas.append(TextDelta(choice.text, choice.index))
            if choice.finish_reason is not None:
                self._ends[choice.index] = choice.finish_reason
        if (usage := read_usage(wire.usage)) is not None:
            deltas.append(Used(usage))
        return deltas

    def finish(self) -> list[Delta]:
        """The end of the stream; UpstreamFailed when no choice had its finish."""
        if not self._ends:
            raise UpstreamFailed("the upstream's stream broke off before its end")
        self.ended = True
        return [
            Finished(finish_of(reason, called=False, refused=False), choice=place)
            for place, reason in sorted(self._ends.items())
        ]


def write_completion(result: ChatResult, answering: Answering) -> bytes:
    """A text completion."""
    choices = [
        _choice(text_of(choice.content), choice.index, FINISH_REASONS[choice.finish]) for choice in result.choices
    ]
    return _encode({**_head(answering), "choices": choices, "usage": write_usage(result.usage or NO_USAGE)})


class CompletionWriter:
    """Writes deltas as the chunks of one text completion."""

    def __init__(self, answering: Answering) -> None:
        self._head = _head(answering)
        self._wants_usage = answering.wants_usage

    def write(self, deltas: Iterable[Delta]) -> bytes:
        """The events to send for them; what is no text has no place in this dialect."""
        return b"".join([self._write(delta) for delta in deltas])

    def end(self, usage: Usage | None) -> bytes:
        """What comes after the last delta."""
        if not self._wants_usage:
            return event_of(DONE)
        return self._event([], write_usage(usage or NO_USAGE)) + event_of(DONE)

    def _write(self, delta: Delta) -> bytes:
        if isinstance(delta, TextDelta):
            return self._event([_choice(delta.text, delta.choice, None)])
        if isinstance(delta, Finished):
            return self._event([_choice("", delta.choice, FINISH_REASONS[delta.finish])])
        return b""

    def _event(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        return event_of(_encode({**self._head, "choices": choices, "usage": usage}))


def _head(answering: Answering) -> dict[str, Any]:
    return {
        "id": f"cmpl-{answering.id}",
        "object": "text_completion",
        "created": answering.created,
        "model": answering.model,
    }


def _choice(text: str, index: int, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
