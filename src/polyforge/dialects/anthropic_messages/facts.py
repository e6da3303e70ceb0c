"""What routing, limits and metering need of a Messages request and its answer; the rest stays the bytes it came as."""

from typing import Final, TypeVar

import msgspec

from polyforge.dialects.anthropic_messages.usage import WireUsage, read_usage
from polyforge.dialects.bodies import decode_body
from polyforge.dialects.end_users import check_end_user
from polyforge.dialects.openai_chat.facts import MOST_OUTPUT, check_model_name
from polyforge.dialects.raw import ABSENT, is_given
from polyforge.dialects.rewriting import with_fields
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import Usage

_VISUAL: Final = frozenset({"image", "document"})
_PLAIN: Final = frozenset({"text", "thinking"})
_T = TypeVar("_T")


class _Typed(msgspec.Struct, gc=False):
    type: str


class _Block(msgspec.Struct, gc=False):
    type: str
    content: msgspec.Raw = ABSENT


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | list[_Block]


class _Tool(msgspec.Struct, gc=False):
    type: str | None = None


class _CountRequest(msgspec.Struct, kw_only=True, gc=False):
    model: str
    messages: list[_Message]
    system: str | list[_Typed] | None = None
    tools: list[_Tool] | None = None


class _OutputConfig(msgspec.Struct, gc=False):
    format: _Typed | None = None


class _Metadata(msgspec.Struct, gc=False):
    user_id: str | None = None


class _Request(_CountRequest, kw_only=True, gc=False):
    max_tokens: int
    metadata: _Metadata | None = None
    stream: bool | None = None
    output_config: _OutputConfig | None = None


class _Reply(msgspec.Struct, gc=False):
    type: str
    stop_reason: str | None = None
    usage: WireUsage | None = None


class _Count(msgspec.Struct, gc=False):
    input_tokens: int


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Start(msgspec.Struct, gc=False):
    usage: WireUsage | None = None


class _Event(msgspec.Struct, gc=False):
    type: str
    delta: _Delta | None = None
    content_block: _Typed | None = None
    usage: WireUsage | None = None
    message: _Start | None = None


class ReplyFacts(msgspec.Struct, gc=False):
    """What a whole answer says about itself."""

    usage: Usage | None
    finish: str | None
    error: bool


class EventFacts(msgspec.Struct, gc=False):
    """What one event of a stream says. `size` counts characters of generated text."""

    kind: str
    content: bool
    size: int
    finish: str | None
    usage: WireUsage | None


_request: Final = msgspec.json.Decoder(_Request)
_count_request: Final = msgspec.json.Decoder(_CountRequest)
_content: Final = msgspec.json.Decoder(str | list[_Typed])
_reply: Final = msgspec.json.Decoder(_Reply)
_count: Final = msgspec.json.Decoder(_Count)
_event: Final = msgspec.json.Decoder(_Event)
_encode: Final = msgspec.json.Encoder().encode


def decode_messages(body: bytes) -> InferenceRequest:
    """The request in POST /v1/messages; Invalid names the field that is wrong."""
    wire = decode_body(_request, body)
    if not 0 <= wire.max_tokens <= MOST_OUTPUT:
        raise Invalid(f"max_tokens must be between 0 and {MOST_OUTPUT}", param="max_tokens")
    request = _read(wire, body)
    request.output_limit = wire.max_tokens
    request.stream = bool(wire.stream)
    if wire.metadata is not None:
        request.end_user = check_end_user(wire.metadata.user_id or "", "metadata.user_id")
    request.structured = wire.output_config is not None and wire.output_config.format is not None
    return request


def decode_count(body: bytes) -> InferenceRequest:
    """The request in POST /v1/messages/count_tokens; Invalid names the field that is wrong."""
    request = _read(decode_body(_count_request, body), body)
    request.task = "tokenization"
    request.output_limit = 0
    return request


def _read(wire: _CountRequest, body: bytes) -> InferenceRequest:
    check_model_name(wire.model)
    if not wire.messages:
        raise Invalid("messages must not be empty", param="messages")
    parts = 1 + len(wire.messages) + len(wire.tools or ())
    images = 0
    for message in wire.messages:
        if type(message.content) is list:
            parts += len(message.content)
            images += sum(_pictures(block) for block in message.content)
    return InferenceRequest(
        task="chat",
        dialect="anthropic",
        model=wire.model,
        body=body,
        wants_usage=True,
        parts=parts,
        images=images,
        tools=bool(wire.tools),
    )


def _pictures(block: _Block) -> int:
    """Pictures and documents in a block, those that a tool gave back included."""
    if block.type in _VISUAL:
        return 1
    if block.type != "tool_result" or not is_given(block.content):
        return 0
    content = decode_body(_content, bytes(block.content))
    return 0 if isinstance(content, str) else sum(part.type in _VISUAL for part in content)


def read_reply(body: bytes) -> ReplyFacts:
    """Usage, stop reason and whether it is an error, out of a whole answer; ValueError when it is no answer at all."""
    wire = _reply.decode(body)
    return ReplyFacts(read_usage(wire.usage), wire.stop_reason, wire.type != "message")


def read_count(body: bytes) -> int:
    """The tokens in the answer of count_tokens; ValueError when it is none."""
    return _count.decode(body).input_tokens


def write_count(tokens: int) -> bytes:
    """The answer to POST /v1/messages/count_tokens."""
    return _encode({"input_tokens": tokens})


def read_event(data: bytes) -> EventFacts:
    """What an event says; ValueError when it is none."""
    wire = _event.decode(data)
    usage = wire.usage if wire.message is None else wire.message.usage
    if wire.content_block is not None:
        return EventFacts(wire.type, wire.content_block.type not in _PLAIN, 0, None, usage)
    delta = wire.delta
    if delta is None:
        return EventFacts(wire.type, False, 0, None, usage)
    size = len(delta.text or delta.thinking or delta.partial_json or "")
    return EventFacts(wire.type, size > 0, size, delta.stop_reason, usage)


def rewrite(body: bytes, *, model: str, limit: int | None = None) -> bytes:
    """The body with the upstream's model name, and an output limit where one is to be set."""
    return with_fields(body, {"model": msgspec.Raw(_encode(model)), **_limited(limit)})


def rewrite_without_model(body: bytes, *, version: str, limit: int | None = None) -> bytes:
    """The same for clouds that host these models: they name the model elsewhere, and the version in the body."""
    return with_fields(body, {"anthropic_version": msgspec.Raw(_encode(version)), **_limited(limit)}, ("model",))


def _limited(limit: int | None) -> dict[str, msgspec.Raw]:
    return {} if limit is None else {"max_tokens": msgspec.Raw(b"%d" % limit)}
