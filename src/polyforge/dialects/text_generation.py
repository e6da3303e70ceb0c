"""The `inputs` format in which Hugging Face's containers take a prompt and give text back. Outbound only.

Source: https://huggingface.co/docs/text-generation-inference/reference/api_reference (compat_generate).
"""

from typing import Any, Final

import msgspec

from polyforge.dialects.openai_errors import decode_error
from polyforge.dialects.parameters import unsupported
from polyforge.kernel.chat import (
    ChatRequest,
    ChatResult,
    Choice,
    Delta,
    Finish,
    Finished,
    Started,
    Text,
    TextDelta,
    Used,
    text_of,
)
from polyforge.kernel.errors import Unsupported, UpstreamFailed
from polyforge.kernel.usage import Usage, told

PARAMETERS: Final = frozenset({"temperature", "top_p", "top_k", "stop", "seed", "frequency_penalty"})
"""What a request in this format can say of the canonical form."""
_FINISHES: Final[dict[str, Finish]] = {"eos_token": "stop", "stop_sequence": "stop_sequence", "length": "length"}
_encode: Final = msgspec.json.Encoder().encode


class _Details(msgspec.Struct):
    finish_reason: str = "eos_token"
    generated_tokens: int = 0
    input_length: int | None = None
    prefill: list[msgspec.Raw] | None = None


class _Generated(msgspec.Struct):
    generated_text: str | None = None
    details: _Details | None = None


class _Token(msgspec.Struct, gc=False):
    text: str = ""
    special: bool = False


class _Event(msgspec.Struct):
    token: _Token | None = None
    generated_text: str | None = None
    details: _Details | None = None
    error: str | None = None


_whole: Final[msgspec.json.Decoder[list[_Generated] | _Generated]] = msgspec.json.Decoder(list[_Generated] | _Generated)
_event: Final = msgspec.json.Decoder(_Event)


def write_prompt(chat: ChatRequest, *, stream: bool) -> bytes:
    """The body of an invocation; Unsupported for anything but one prompt of text."""
    if missing := unsupported(chat, PARAMETERS):
        raise Unsupported(f"this model has no place for: {', '.join(missing)[:300]}; leave it out", param=missing[0])
    parameters = {
        "max_new_tokens": chat.output_limit,
        "temperature": chat.temperature or None,
        "do_sample": None if chat.temperature is None else chat.temperature > 0,
        "top_p": chat.top_p,
        "top_k": chat.top_k,
        "stop": chat.stop or None,
        "seed": chat.seed,
        "frequency_penalty": chat.frequency_penalty,
    }
    said = {name: value for name, value in parameters.items() if value is not None}
    fields: dict[str, Any] = {
        "inputs": _prompt(chat),
        "parameters": {**said, "details": True, "return_full_text": False},
    }
    if stream:
        fields["stream"] = True
    return _encode(fields)


def _prompt(chat: ChatRequest) -> str:
    messages = chat.messages
    if (
        len(messages) != 1
        or messages[0].role != "user"
        or not all(isinstance(one, Text) for one in messages[0].content)
    ):
        raise Unsupported("this model takes one prompt of text, no conversation", param="messages")
    return text_of(messages[0].content)


def read_reply(body: bytes) -> ChatResult:
    """The canonical form of an answer; UpstreamFailed when it is none."""
    try:
        wire = _whole.decode(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream's answer is not what was asked for") from error
    answers = wire if isinstance(wire, list) else [wire]
    if not answers or answers[0].generated_text is None:
        raise UpstreamFailed(decode_error(body).message or "the upstream's answer holds no text")
    text, details = answers[0].generated_text, answers[0].details
    finish: Finish = "stop" if details is None else _FINISHES.get(details.finish_reason, "stop")
    choice = Choice(content=[Text(text)] if text else [], finish=finish)
    return ChatResult(choices=[choice], usage=_usage(details))


class TokenReader:
    """Reads one event after the other; the last carries the whole text again, and the details."""

    def __init__(self) -> None:
        self._started = False
        self.ended = False

    def read(self, data: bytes) -> list[Delta]:
        """What one event says; UpstreamFailed when it is malformed or an error."""
        try:
            wire = _event.decode(data)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed("the upstream sent a malformed event") from error
        if wire.error is not None:
            raise UpstreamFailed(wire.error[:2000] or "the upstream broke off with an error")
        deltas: list[Delta] = [] if self._started else [Started()]
        self._started = True
        if wire.token is not None and wire.token.text and not wire.token.special:
            deltas.append(TextDelta(wire.token.text))
        if wire.generated_text is not None or wire.details is not None:
            deltas += self._end(wire.details)
        return deltas

    def finish(self) -> list[Delta]:
        """The end of the connection, before which the last event should have come."""
        raise UpstreamFailed("the upstream's stream broke off before its end")

    def _end(self, details: _Details | None) -> list[Delta]:
        self.ended = True
        finish: Finish = "stop" if details is None else _FINISHES.get(details.finish_reason, "stop")
        usage = _usage(details)
        return [Finished(finish), *([] if usage is None else [Used(usage)])]


def _usage(details: _Details | None) -> Usage | None:
    """None where the length of the input is not told."""
    if details is None:
        return None
    read = len(details.prefill) if details.input_length is None and details.prefill else details.input_length
    return None if read is None else told(Usage(input=read, output=max(0, details.generated_tokens)))
