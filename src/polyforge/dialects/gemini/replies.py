"""A whole answer of generateContent read into the canonical form, and what it shares with a streamed one."""

from typing import Any, Final

import msgspec

from polyforge.dialects.gemini.errors import decode_error
from polyforge.dialects.gemini.tool_names import ToolNames
from polyforge.dialects.gemini.usage import WireUsage, read_usage
from polyforge.dialects.raw import ABSENT, answered_text, given, is_given
from polyforge.kernel.chat import Block, ChatResult, Choice, Finish, Image, Reasoning, Text, ToolCall
from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.ids import new_ulid

FINISHES: Final[dict[str, Finish]] = {
    "STOP": "stop",
    "FINISH_REASON_UNSPECIFIED": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "OTHER": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_OTHER": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
}
"""What Google calls the ends that there are; a name that is not here is a new one, and ends the answer all the same."""
BLOCKED: Final = "PROHIBITED_CONTENT"
"""The end of an answer that was not begun because the prompt was blocked."""
_BROKEN: Final = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
    }
)
"""Ends of answers that went wrong on the model's side; asking again may help."""
_LONGEST_ID: Final = 40


class WireCall(msgspec.Struct, gc=False):
    """A call of a tool, always whole."""

    name: str | None = None
    args: msgspec.Raw = ABSENT
    id: str | None = None


class _Blob(msgspec.Struct, rename="camel", gc=False):
    mime_type: str | None = None
    data: str | None = None


class WirePart(msgspec.Struct, rename="camel", gc=False):
    """A piece of an answer: prose, a thought, a call or a picture. Of other kinds nothing is read."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: WireCall | None = None
    inline_data: _Blob | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[WirePart] | None = None


class _Token(msgspec.Struct, rename="camel", gc=False):
    token: str | None = None
    log_probability: float | None = None


class _Tokens(msgspec.Struct, gc=False):
    candidates: list[_Token] | None = None


class WireLogprobs(msgspec.Struct, rename="camel", gc=False):
    """The probabilities of the tokens of an answer, or of a piece of it."""

    chosen_candidates: list[_Token] | None = None
    top_candidates: list[_Tokens] | None = None


class WireCandidate(msgspec.Struct, rename="camel", gc=False):
    """One answer, or a piece of it."""

    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None
    logprobs_result: WireLogprobs | None = None


class _Feedback(msgspec.Struct, rename="camel", gc=False):
    block_reason: str | None = None


class WireReply(msgspec.Struct, rename="camel", gc=False):
    """A GenerateContentResponse, or an error in its place."""

    candidates: list[WireCandidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: WireUsage | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: msgspec.Raw = ABSENT

    @property
    def is_blocked(self) -> bool:
        """Whether the prompt was not let through to the model."""
        return self.prompt_feedback is not None and self.prompt_feedback.block_reason is not None


_reply: Final = msgspec.json.Decoder(WireReply)
_encode: Final = msgspec.json.Encoder().encode


def decode_reply(data: bytes) -> WireReply:
    """The answer, or a piece of it, as it stands; UpstreamFailed when it is malformed or an error."""
    try:
        wire = _reply.decode(data)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream's answer is not what was asked for") from error
    if wire.error is not ABSENT and is_given(wire.error):
        raise UpstreamFailed(decode_error(data).message or "the upstream broke off with an error")
    return wire


def read_reply(body: bytes, names: ToolNames) -> ChatResult:
    """The canonical form of an answer; UpstreamFailed when it is none, or went wrong in the model."""
    wire = decode_reply(body)
    calls = CallReader(names, wire.response_id)
    choices = [_read_choice(candidate, place, calls) for place, candidate in enumerate(wire.candidates or ())]
    if not choices and wire.is_blocked:
        choices = [Choice(content=[], finish=finish_of(BLOCKED, None, called=False))]
    if not choices:
        raise UpstreamFailed("the upstream's answer holds no candidates")
    return ChatResult(
        choices=choices,
        usage=read_usage(wire.usage_metadata),
        model=wire.model_version or "",
        id=wire.response_id or "",
    )


class CallReader:
    """Reads the calls of one answer. Where the server gives them no ids they get some that no other answer has."""

    def __init__(self, names: ToolNames, response_id: str | None) -> None:
        self._names = names
        self._response = "".join([c for c in response_id or "" if c.isascii() and c.isalnum()])[:_LONGEST_ID]
        self._count = 0

    def read(self, wire: WireCall, signature: str | None) -> ToolCall:
        """The call; UpstreamFailed when it has no name."""
        if not wire.name:
            raise UpstreamFailed("the upstream called a tool without naming it")
        self._count += 1
        return ToolCall(wire.id or self._mint(), self._names.restored(wire.name), _arguments(wire.args), signature)

    def _mint(self) -> str:
        self._response = self._response or new_ulid()
        return f"call_{self._response}_{self._count}"


def finish_of(reason: str | None, said: str | None, *, called: bool) -> Finish:
    """The canonical end; UpstreamFailed for an answer that went wrong, `said` being the server's words for it."""
    if reason in _BROKEN:
        raise UpstreamFailed(f"the model's answer went wrong: {(said or reason)[:300]}")
    finish = FINISHES.get(reason or "STOP", "stop")
    return "tool_calls" if called and finish == "stop" else finish


def write_logprobs(wire: WireLogprobs | None) -> msgspec.Raw | None:
    """Probabilities as OpenAI writes them."""
    if wire is None or not wire.chosen_candidates:
        return None
    tops = wire.top_candidates or []
    content: list[dict[str, Any]] = []
    for place, chosen in enumerate(wire.chosen_candidates):
        top = tops[place].candidates or [] if place < len(tops) else []
        content.append({**_logprob(chosen), "top_logprobs": [_logprob(token) for token in top]})
    return msgspec.Raw(_encode({"content": content, "refusal": None}))


def _logprob(wire: _Token) -> dict[str, Any]:
    token = wire.token or ""
    return {"token": token, "logprob": wire.log_probability or 0.0, "bytes": list(token.encode("utf-8", "replace"))}


def _read_choice(wire: WireCandidate, place: int, calls: CallReader) -> Choice:
    content: list[Block] = []
    for part in (wire.content.parts if wire.content else None) or ():
        _read_part(part, content, calls)
    called = any(isinstance(block, ToolCall) for block in content)
    return Choice(
        content=content,
        finish=finish_of(wire.finish_reason, wire.finish_message, called=called),
        index=place if wire.index is None else wire.index,
        logprobs=write_logprobs(wire.logprobs_result),
    )


def _read_part(part: WirePart, content: list[Block], calls: CallReader) -> None:
    if part.function_call is not None:
        content.append(calls.read(part.function_call, part.thought_signature))
        return
    if part.text:
        _add_text(part.text, content, thought=part.thought is True)
    elif part.inline_data is not None and part.inline_data.data is not None and not part.thought:
        content.append(Image(data=part.inline_data.data, media_type=part.inline_data.mime_type))
    if part.thought_signature is not None:
        _sign(part.thought_signature, content)


def _add_text(text: str, content: list[Block], *, thought: bool) -> None:
    last = content[-1] if content else None
    if thought and isinstance(last, Reasoning) and last.signature is None:
        last.text += text
    elif thought:
        content.append(Reasoning(text))
    elif isinstance(last, Text):
        last.text += text
    else:
        content.append(Text(text))


def _sign(signature: str, content: list[Block]) -> None:
    """A signature on prose is the last thought's; without one it stands for a thought that is not shown."""
    last = next((block for block in reversed(content) if isinstance(block, Reasoning)), None)
    if last is not None and last.signature is None:
        last.signature = signature
    else:
        content.append(Reasoning(signature=signature))


def _arguments(raw: msgspec.Raw) -> str:
    """The arguments as JSON text without the blanks that Google puts in."""
    args = given(raw)
    return "{}" if args is None else answered_text(msgspec.Raw(msgspec.json.format(bytes(args), indent=-1)))
